import { type JetStreamManager, jetstreamManager, type StoredMsg } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { rejected } from "../../libs/contract/message.ts";
import { MSG_ID_HEADER, messageId, openMessage } from "../../libs/contract/message-identity.ts";
import { type Instance, jobHash } from "../../libs/contract/names.ts";
import type { JobRecord } from "../../libs/contract/record.ts";
import { type MessageSource, nanosOfTimestamp, sameSource } from "../../libs/contract/source.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { parseJobSubject } from "../../libs/contract/subjects.ts";
import type { Log } from "../../libs/runtime/log.ts";
import { type Metrics, queueLabel } from "../../libs/runtime/metrics.ts";
import { headerValues } from "../../libs/streams/jetstream-broker.ts";
import type { JobStore } from "../../libs/streams/job-store.ts";
import type { Patience } from "./patience.ts";

export interface UnroutedMessagesOptions {
  readonly connection: NatsConnection;
  readonly instance: Instance;
  readonly store: Pick<JobStore, "deadLetters" | "events" | "messages" | "records" | "settler">;
  readonly queues: () => Readonly<Record<string, unknown>>;
  readonly patience: Patience;
  readonly metrics: Metrics;
  readonly log: Log;
}

/**
 * Messages in JOBS that no configured queue takes: stored and acknowledged to the producer, they would reach nobody and nobody would know.
 * Reported at once; after a while, which leaves time to declare the queue, each goes to the DLQ. When the queue was there before, a message may
 * have its Job already: then its record says what becomes of it.
 */
export class UnroutedMessages {
  readonly #manager: JetStreamManager;
  readonly #options: Omit<UnroutedMessagesOptions, "connection">;
  /** Of the last sweep. */
  #waiting: ReadonlySet<string> = new Set();

  private constructor(manager: JetStreamManager, options: UnroutedMessagesOptions) {
    this.#manager = manager;
    this.#options = options;
  }

  static async open(options: UnroutedMessagesOptions): Promise<UnroutedMessages> {
    return new UnroutedMessages(await jetstreamManager(options.connection), options);
  }

  async sweep(signal: AbortSignal, beat: () => void): Promise<void> {
    const { queues, patience, log } = this.#options;
    const info = await this.#manager.streams.info(STREAM.jobs, { subjects_filter: ">" });
    const unrouted = Object.entries(info.state.subjects ?? {}).filter(([subject]) => !isRouted(subject, queues()));
    // Also when nothing waits there any more: what comes another time is given its own time.
    const before = this.#waiting;
    this.#waiting = new Set(unrouted.map(([subject]) => subject));
    for (const subject of before) if (!this.#waiting.has(subject)) patience.over(subject);
    for (const [subject, count] of unrouted) {
      if (signal.aborted) return;
      log.warn("message.unrouted", {
        subject,
        count,
        hint: "no queue of this name is configured, or the subject has no type",
      });
      if (!patience.isExhausted(subject)) continue;
      await this.#clear(subject, signal, beat);
      // What comes after this is given its own time.
      patience.over(subject);
    }
  }

  async #clear(subject: string, signal: AbortSignal, beat: () => void): Promise<void> {
    let seq = 1;
    while (!signal.aborted) {
      const stored = await this.#manager.direct.getMessage(STREAM.jobs, { next_by_subj: subject, seq });
      if (stored === null) return;
      await this.#clearOne(stored);
      beat();
      seq = stored.seq + 1;
    }
  }

  async #clearOne(stored: StoredMsg): Promise<void> {
    const { deadLetters, events, messages, settler } = this.#options.store;
    const source: MessageSource = { stream: STREAM.jobs, seq: stored.seq, storedAt: nanosOfTimestamp(stored.timestamp) };
    const { queue, type } = parseJobSubject(stored.subject) ?? { queue: "", type: "" };
    const id = idOf(stored, source);
    const record = id === undefined ? undefined : await this.#recordOf(id, queue, source);
    if (record !== undefined) {
      // Nothing is done while its Job runs (invariant I3).
      await settler.finish(record, undefined);
      return;
    }
    const { rejection } = rejected("UNKNOWN_QUEUE", "", "publish to jobs.<queue>.<type> with a queue that is configured");
    const original = { subject: stored.subject, headers: headerValues(stored.header) };
    await deadLetters.rejected({ queue, type, id, source, rejection, original, body: stored.data });
    await events.rejected(queue, id, source, rejection, new Date().toISOString());
    await messages.remove(source, undefined);
    this.#options.metrics.messagesFailed.inc({ queue: queueLabel(queue, this.#options.queues()) });
  }

  /** The record that speaks of this very message: its Job was made before the queue was removed. */
  async #recordOf(id: string, queue: string, source: MessageSource): Promise<JobRecord | undefined> {
    const { store, instance } = this.#options;
    const record = (await store.records.get(jobHash(instance, queue, id)))?.record;
    return record?.source !== undefined && sameSource(record.source, source) ? record : undefined;
  }
}

/** As the dispatcher reads it (rule D1). */
function idOf({ data, header }: StoredMsg, source: MessageSource): string | undefined {
  const headers = headerValues(header);
  const opened = openMessage(data, Object.entries(headers));
  if (opened.kind === "rejected") return undefined;
  const id = messageId(opened.value, headers[MSG_ID_HEADER]?.[0] ?? "", source);
  return id.kind === "rejected" ? undefined : id.value;
}

/** Our consumers filter `jobs.<queue>.>`, which needs at least one token after the queue. */
export function isRouted(subject: string, queues: Readonly<Record<string, unknown>>): boolean {
  const job = parseJobSubject(subject);
  return job !== undefined && job.type !== "" && Object.hasOwn(queues, job.queue);
}
