import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import { attemptData, duplicateData, type EventKind, jobEvent, type KeptMessage } from "../contract/event.ts";
import type { Rejection } from "../contract/message.ts";
import { currentAttempt, type JobRecord } from "../contract/record.ts";
import { type MessageSource, sourceKey } from "../contract/source.ts";
import { STREAM } from "../contract/streams.ts";
import { eventSubject, rejectedEventSubject } from "../contract/subjects.ts";
import type { OncePublisher } from "./publish-once.ts";

const createdEvent = z.object({
  data: z.object({
    messageHash: z.string(),
    message: z.object({ subject: z.string(), headers: z.record(z.string(), z.array(z.string())), bodyBase64: z.string() }),
  }),
});

/** EVENTS: what happened to each attempt, once each, as CloudEvents. The notifier's outbox and the memory of what was published. */
export class JobEvents {
  readonly #instance: string;
  readonly #once: OncePublisher;
  readonly #manager: JetStreamManager;

  private constructor(instance: string, once: OncePublisher, manager: JetStreamManager) {
    this.#instance = instance;
    this.#once = once;
    this.#manager = manager;
  }

  static async open(options: { connection: NatsConnection; instance: string; once: OncePublisher }): Promise<JobEvents> {
    return new JobEvents(options.instance, options.once, await jetstreamManager(options.connection));
  }

  /** F1: the first attempt of a life carries the message, so that the job can be run again after the message is gone. */
  async created(record: JobRecord, message: KeptMessage | undefined): Promise<void> {
    const carried = record.attempt === record.budgetFrom && message !== undefined ? { message } : {};
    await this.#attempt(record, "created", record.createdAt, {
      ...attemptData(record),
      messageHash: record.messageHash,
      ...carried,
    });
  }

  async started(
    record: JobRecord,
    startedAt: string,
    pod: { readonly name: string; readonly uid: string; readonly node?: string },
  ): Promise<void> {
    await this.#attempt(record, "started", startedAt, { ...attemptData(record), startedAt, pod });
  }

  /** The one terminal event of a life (invariant I7). */
  async terminal(record: JobRecord): Promise<void> {
    const kind = record.state === "succeeded" ? "succeeded" : "dead";
    await this.#attempt(record, kind, currentAttempt(record)?.endedAt ?? record.updatedAt, {
      ...attemptData(record),
      ...(record.result === undefined ? {} : { result: record.result }),
    });
  }

  /** D5, D6: another message asked for a job that exists already. */
  async duplicate(
    record: { id: string; hash: string; queue: string; attempt: number },
    duplicate: MessageSource,
    at: string,
  ): Promise<void> {
    const subject = eventSubject(record.queue, record.hash, record.attempt, "duplicate");
    await this.#publish(subject, sourceKey(duplicate), "duplicate", record.id, at, duplicateData(record, duplicate));
  }

  /** D11: under the message's own source; the id that it names may belong to somebody else. */
  async rejected(queue: string, id: string | undefined, source: MessageSource, rejection: Rejection, at: string): Promise<void> {
    const data = {
      ...(id === undefined ? {} : { id }),
      queue,
      source,
      code: rejection.code,
      path: rejection.path,
      reason: rejection.reason,
    };
    await this.#publish(rejectedEventSubject(queue, source), sourceKey(source), "rejected", id ?? sourceKey(source), at, data);
  }

  async has(record: Pick<JobRecord, "queue" | "hash" | "attempt">, kind: EventKind): Promise<boolean> {
    const subject = eventSubject(record.queue, record.hash, record.attempt, kind);
    const info = await this.#manager.streams.info(STREAM.events, { subjects_filter: subject });
    return (info.state.subjects?.[subject] ?? 0) > 0;
  }

  /** The message of this life, as its `created` event kept it. */
  async keptMessage(record: JobRecord): Promise<KeptMessage | undefined> {
    const subject = eventSubject(record.queue, record.hash, record.budgetFrom, "created");
    const stored = await this.#manager.streams.getMessage(STREAM.events, { last_by_subj: subject });
    const parsed = createdEvent.safeParse(stored?.json());
    return parsed.success && parsed.data.data.messageHash === record.messageHash ? parsed.data.data.message : undefined;
  }

  async #attempt(record: JobRecord, kind: EventKind, at: string, data: Record<string, unknown>): Promise<void> {
    const subject = eventSubject(record.queue, record.hash, record.attempt, kind);
    await this.#publish(subject, record.job?.uid ?? sourceKey(record.source), kind, record.id, at, data);
  }

  async #publish(
    subject: string,
    source: string,
    kind: EventKind,
    jobId: string,
    at: string,
    data: Record<string, unknown>,
  ): Promise<void> {
    const event = jobEvent({ instance: this.#instance, kind, key: source, subject: jobId, at, data });
    await this.#once.publish({ stream: STREAM.events, subject, source, body: JSON.stringify(event) });
  }
}
