import { z } from "zod";
import { jsonOf } from "../contract/ascii-json.ts";
import { attemptData, attemptSource, duplicateData, type EventKind, jobEvent, type KeptMessage } from "../contract/event.ts";
import type { Rejection } from "../contract/message.ts";
import { currentAttempt, type JobRecord, type JobReference, jobReference } from "../contract/record.ts";
import { type MessageSource, sourceKey } from "../contract/source.ts";
import { STREAM } from "../contract/streams.ts";
import { eventSubject, rejectedEventSubject } from "../contract/subjects.ts";
import type { Broker } from "./broker.ts";
import type { OncePublisher } from "./publish-once.ts";

const carriesMessage = z.object({
  data: z.object({
    messageHash: z.string(),
    message: z.object({ subject: z.string(), headers: z.record(z.string(), z.array(z.string())), bodyBase64: z.string() }),
  }),
});

const namesJob = z.object({ data: z.object({ job: jobReference }) });

interface TracedAttempt {
  readonly id: string;
  readonly hash: string;
  readonly queue: string;
  readonly attempt: number;
  readonly traceparent?: string | undefined;
}

/** EVENTS: what happened to each attempt, once each, as CloudEvents. The notifier's outbox and the memory of what was published. */
export class JobEvents {
  readonly #instance: string;
  readonly #once: OncePublisher;
  readonly #broker: Broker;

  constructor(options: { readonly broker: Broker; readonly instance: string; readonly once: OncePublisher }) {
    this.#instance = options.instance;
    this.#once = options.once;
    this.#broker = options.broker;
  }

  /** F1: the first attempt of a life carries the message, so that the job can be run again after the message is gone. */
  async created(record: JobRecord, message: KeptMessage | undefined, at = currentAttempt(record)?.startedAt): Promise<void> {
    const carried = record.attempt === record.budgetFrom && message !== undefined ? { message } : {};
    const data = { ...attemptData(record), messageHash: record.messageHash, ...carried };
    await this.#attempt(record, "created", at ?? record.updatedAt, data);
  }

  async started(
    record: JobRecord,
    startedAt: string,
    pod: { readonly name: string; readonly uid: string; readonly node?: string },
  ): Promise<void> {
    await this.#attempt(record, "started", startedAt, { ...attemptData(record), startedAt, pod });
  }

  /** The attempt failed and another will be made. */
  async retrying(record: JobRecord): Promise<void> {
    await this.#attempt(record, "retrying", record.updatedAt, attemptData(record));
  }

  /** A life whose first attempt is not made yet, and perhaps never will be: its message is kept here. */
  async received(record: JobRecord, message: KeptMessage | undefined): Promise<void> {
    const attempt = record.budgetFrom;
    const subject = eventSubject(record.queue, record.hash, attempt, "received");
    const carried = message === undefined ? {} : { message };
    const data = { ...attemptData(record), attempt, messageHash: record.messageHash, ...carried };
    await this.#publish(subject, `life-${record.life}`, "received", record, record.updatedAt, data);
  }

  /** D8: the cluster says no to this message; once for each message that is held. */
  async blocked(
    job: TracedAttempt,
    held: MessageSource,
    facts: { readonly namespace: string; readonly reason: string; readonly at: string },
  ): Promise<void> {
    const { id, hash, queue, attempt } = job;
    const subject = eventSubject(queue, hash, attempt, "blocked");
    const data = { id, hash, queue, attempt, namespace: facts.namespace, reason: facts.reason };
    await this.#publish(subject, sourceKey(held), "blocked", job, facts.at, data);
  }

  /** The one terminal event of a life (invariant I7). */
  async terminal(record: JobRecord): Promise<void> {
    const kind = record.state;
    if (kind === "running" || kind === "retrying") return;
    await this.#attempt(record, kind, currentAttempt(record)?.endedAt ?? record.updatedAt, {
      ...attemptData(record),
      ...(record.result === undefined ? {} : { result: record.result }),
    });
  }

  /** D5, D6: another message asked for a job that exists already. */
  async duplicate(record: TracedAttempt, duplicate: MessageSource, at: string): Promise<void> {
    const subject = eventSubject(record.queue, record.hash, record.attempt, "duplicate");
    await this.#publish(subject, sourceKey(duplicate), "duplicate", record, at, duplicateData(record, duplicate));
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
    const subject = { id: id ?? sourceKey(source) };
    await this.#publish(rejectedEventSubject(queue, source), sourceKey(source), "rejected", subject, at, data);
  }

  async has(record: Pick<JobRecord, "queue" | "hash" | "attempt">, kind: EventKind): Promise<boolean> {
    const subject = eventSubject(record.queue, record.hash, record.attempt, kind);
    return (await this.#broker.last(STREAM.events, subject)) !== undefined;
  }

  /** The Job that an event of the attempt names. */
  async jobOf(record: Pick<JobRecord, "queue" | "hash" | "attempt">, kind: EventKind): Promise<JobReference | undefined> {
    const subject = eventSubject(record.queue, record.hash, record.attempt, kind);
    const stored = await this.#broker.last(STREAM.events, subject);
    const parsed = namesJob.safeParse(stored === undefined ? undefined : jsonOf(new TextDecoder().decode(stored.data)));
    return parsed.success ? parsed.data.data.job : undefined;
  }

  /** The message of this life as an event kept it: its own first attempt's, or, before that is created, that of the life before. */
  async keptMessage(record: JobRecord): Promise<KeptMessage | undefined> {
    const begins = [record.budgetFrom, ...(record.formerLifeFrom === undefined ? [] : [record.formerLifeFrom])];
    for (const attempt of begins) {
      for (const kind of ["created", "received"] as const) {
        const stored = await this.#broker.last(STREAM.events, eventSubject(record.queue, record.hash, attempt, kind));
        const parsed = carriesMessage.safeParse(stored === undefined ? undefined : jsonOf(new TextDecoder().decode(stored.data)));
        if (parsed.success && parsed.data.data.messageHash === record.messageHash) return parsed.data.data.message;
      }
    }
    return undefined;
  }

  async #attempt(record: JobRecord, kind: EventKind, at: string, data: Record<string, unknown>): Promise<void> {
    const subject = eventSubject(record.queue, record.hash, record.attempt, kind);
    await this.#publish(subject, attemptSource(record), kind, record, at, data);
  }

  async #publish(
    subject: string,
    source: string,
    kind: EventKind,
    { id, traceparent }: { readonly id: string; readonly traceparent?: string | undefined },
    at: string,
    data: Record<string, unknown>,
  ): Promise<void> {
    const event = jobEvent({ instance: this.#instance, kind, key: source, subject: id, at, traceparent, data });
    await this.#once.publish({ stream: STREAM.events, subject, source, body: JSON.stringify(event) });
  }
}
