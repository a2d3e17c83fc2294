import { type JetStreamManager, jetstreamManager, type StoredMsg } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { rejected } from "../../libs/contract/message.ts";
import { type MessageSource, nanosOfTimestamp } from "../../libs/contract/source.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { parseJobSubject } from "../../libs/contract/subjects.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { JobStore } from "../../libs/streams/job-store.ts";
import { headerValues } from "../../libs/streams/messages.ts";

/**
 * Messages in JOBS whose subject no consumer's filter matches: stored and acknowledged to the producer, they would reach nobody and nobody
 * would know. Reported at once; after a while, which leaves time to declare the queue, each goes to the DLQ.
 */
export class UnroutedMessages {
  readonly #manager: JetStreamManager;
  readonly #store: JobStore;
  readonly #afterMs: number;
  readonly #log: Log;

  private constructor(manager: JetStreamManager, store: JobStore, afterMs: number, log: Log) {
    this.#manager = manager;
    this.#store = store;
    this.#afterMs = afterMs;
    this.#log = log;
  }

  static async open(options: {
    connection: NatsConnection;
    store: JobStore;
    afterMs: number;
    log: Log;
  }): Promise<UnroutedMessages> {
    return new UnroutedMessages(await jetstreamManager(options.connection), options.store, options.afterMs, options.log);
  }

  async sweep(signal: AbortSignal): Promise<void> {
    const filters = new Set<string>();
    for await (const consumer of this.#manager.consumers.list(STREAM.jobs)) filters.add(consumer.config.filter_subject ?? "");
    const info = await this.#manager.streams.info(STREAM.jobs, { subjects_filter: ">" });
    for (const [subject, count] of Object.entries(info.state.subjects ?? {})) {
      if (signal.aborted) return;
      if (isRouted(subject, filters)) continue;
      this.#log.warn("message.unrouted", {
        subject,
        count,
        hint: "no queue of this name is configured, or the subject has no type",
      });
      await this.#deadLetter(subject, signal);
    }
  }

  async #deadLetter(subject: string, signal: AbortSignal): Promise<void> {
    let seq = 1;
    while (!signal.aborted) {
      const stored = await this.#manager.direct.getMessage(STREAM.jobs, { next_by_subj: subject, seq });
      if (stored === null || Date.now() - stored.time.getTime() < this.#afterMs) return;
      await this.#reject(stored);
      seq = stored.seq + 1;
    }
  }

  async #reject(stored: StoredMsg): Promise<void> {
    const source: MessageSource = { stream: STREAM.jobs, seq: stored.seq, storedAt: nanosOfTimestamp(stored.timestamp) };
    const { queue, type } = parseJobSubject(stored.subject) ?? { queue: "", type: "" };
    const { rejection } = rejected("UNKNOWN_QUEUE", "", "publish to jobs.<queue>.<type> with a queue that is configured");
    const original = { subject: stored.subject, headers: headerValues(stored.header) };
    await this.#store.deadLetters.rejected({ queue, type, id: undefined, source, rejection, original, body: stored.data });
    await this.#store.events.rejected(queue, undefined, source, rejection, new Date().toISOString());
    await this.#store.messages.remove(source, undefined);
  }
}

/** Our consumers filter `jobs.<queue>.>`, which needs at least one token after the queue. */
export function isRouted(subject: string, filters: ReadonlySet<string>): boolean {
  const job = parseJobSubject(subject);
  return job !== undefined && job.type !== "" && filters.has(`jobs.${job.queue}.>`);
}
