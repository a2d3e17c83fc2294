import { type JetStreamManager, jetstreamManager, type StoredMsg } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { rejected } from "../../libs/contract/message.ts";
import { type MessageSource, nanosOfTimestamp } from "../../libs/contract/source.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { parseJobSubject } from "../../libs/contract/subjects.ts";
import type { Log } from "../../libs/runtime/log.ts";
import { headerValues } from "../../libs/streams/jetstream-broker.ts";
import type { JobStore } from "../../libs/streams/job-store.ts";
import type { Patience } from "./patience.ts";

/**
 * Messages in JOBS that no configured queue takes: stored and acknowledged to the producer, they would reach nobody and nobody would know.
 * Reported at once; after a while, which leaves time to declare the queue, each goes to the DLQ.
 */
export class UnroutedMessages {
  readonly #manager: JetStreamManager;
  readonly #store: Pick<JobStore, "deadLetters" | "events" | "messages">;
  readonly #queues: () => Readonly<Record<string, unknown>>;
  readonly #patience: Patience;
  readonly #log: Log;

  private constructor(manager: JetStreamManager, options: Omit<Parameters<typeof UnroutedMessages.open>[0], "connection">) {
    this.#manager = manager;
    this.#store = options.store;
    this.#queues = options.queues;
    this.#patience = options.patience;
    this.#log = options.log;
  }

  static async open(options: {
    readonly connection: NatsConnection;
    readonly store: Pick<JobStore, "deadLetters" | "events" | "messages">;
    readonly queues: () => Readonly<Record<string, unknown>>;
    readonly patience: Patience;
    readonly log: Log;
  }): Promise<UnroutedMessages> {
    return new UnroutedMessages(await jetstreamManager(options.connection), options);
  }

  async sweep(signal: AbortSignal): Promise<void> {
    const info = await this.#manager.streams.info(STREAM.jobs, { subjects_filter: ">" });
    for (const [subject, count] of Object.entries(info.state.subjects ?? {})) {
      if (signal.aborted) return;
      if (isRouted(subject, this.#queues())) {
        this.#patience.over(subject);
        continue;
      }
      this.#log.warn("message.unrouted", {
        subject,
        count,
        hint: "no queue of this name is configured, or the subject has no type",
      });
      if (this.#patience.isExhausted(subject)) await this.#deadLetter(subject, signal);
    }
  }

  async #deadLetter(subject: string, signal: AbortSignal): Promise<void> {
    let seq = 1;
    while (!signal.aborted) {
      const stored = await this.#manager.direct.getMessage(STREAM.jobs, { next_by_subj: subject, seq });
      if (stored === null) return;
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
export function isRouted(subject: string, queues: Readonly<Record<string, unknown>>): boolean {
  const job = parseJobSubject(subject);
  return job !== undefined && job.type !== "" && Object.hasOwn(queues, job.queue);
}
