import { type JetStreamManager, jetstreamManager, type StoredMsg } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { rejected } from "../../../libs/contract/message.ts";
import { type MessageSource, nanosOfTimestamp } from "../../../libs/contract/source.ts";
import { STREAM, workConsumerName } from "../../../libs/contract/streams.ts";
import { subjectsOverlap, type WorkerConfig } from "../../../libs/contract/work-config.ts";
import { asFreshItem, workItem } from "../../../libs/contract/work-message.ts";
import { parseWorkRetrySubject } from "../../../libs/contract/work-subjects.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import { type Metrics, UNCONFIGURED_QUEUE } from "../../../libs/runtime/metrics.ts";
import { headerValues } from "../../../libs/streams/jetstream-broker.ts";
import type { JobStore } from "../../../libs/streams/job-store.ts";
import { nextMessage } from "../../../libs/streams/next-message.ts";
import type { Patience } from "../patience.ts";

export interface UnroutedWorkOptions {
  readonly connection: NatsConnection;
  readonly store: Pick<JobStore, "deadLetters" | "messages">;
  readonly workers: () => Readonly<Record<string, Pick<WorkerConfig, "subject">>>;
  /** Whether somebody works on the message now: a pod of a worker that was removed may finish what it has. */
  readonly isHeld: (stream: string, seq: number) => Promise<boolean>;
  readonly patience: Patience;
  readonly metrics: Metrics;
  readonly log: Log;
}

/**
 * Messages in WORK, and retries that are due in WORK_RETRY, that no configured worker takes. Reported at once; after a while, which leaves time to
 * configure the worker again, each goes to the DLQ.
 */
export class UnroutedWork {
  readonly #manager: JetStreamManager;
  readonly #options: Omit<UnroutedWorkOptions, "connection">;
  /** Of the last sweep. */
  #waiting: ReadonlySet<string> = new Set();

  private constructor(manager: JetStreamManager, options: UnroutedWorkOptions) {
    this.#manager = manager;
    this.#options = options;
  }

  static async open(options: UnroutedWorkOptions): Promise<UnroutedWork> {
    return new UnroutedWork(await jetstreamManager(options.connection), options);
  }

  async sweep(signal: AbortSignal, beat: () => void): Promise<void> {
    const { patience, log } = this.#options;
    const unrouted = [...(await this.#fresh()), ...(await this.#due())];
    const before = this.#waiting;
    this.#waiting = new Set(unrouted.map(({ stream, subject }) => `${stream} ${subject}`));
    for (const key of before) if (!this.#waiting.has(key)) patience.over(key);
    for (const { stream, subject, count } of unrouted) {
      if (signal.aborted) return;
      log.warn("message.unrouted", { stream, subject, count, hint: "no configured worker takes this subject" });
      const key = `${stream} ${subject}`;
      if (!patience.isExhausted(key)) continue;
      await this.#clear(stream, subject, signal, beat);
      patience.over(key);
    }
  }

  async #fresh(): Promise<Unrouted[]> {
    const subjects = Object.values(this.#options.workers()).map(({ subject }) => subject);
    // Subjects with wildcards may stand for a hundred thousand: they are listed only when there is more than workers have to do.
    const { state } = await this.#manager.streams.info(STREAM.work);
    if (state.messages <= (await this.#countTaken())) return [];
    const isTaken = (subject: string): boolean => subjects.some((pattern) => subjectsOverlap(pattern, subject));
    return this.#list(STREAM.work, ">", isTaken);
  }

  #due(): Promise<Unrouted[]> {
    const workers = this.#options.workers();
    const isTaken = (subject: string): boolean => Object.hasOwn(workers, parseWorkRetrySubject(subject)?.worker ?? "");
    return this.#list(STREAM.workRetry, "work.run.>", isTaken);
  }

  async #list(stream: string, filter: string, isTaken: (subject: string) => boolean): Promise<Unrouted[]> {
    const { state } = await this.#manager.streams.info(stream, { subjects_filter: filter });
    const found = Object.entries(state.subjects ?? {}).map(([subject, count]) => ({ stream, subject, count }));
    return found.filter(({ subject }) => !isTaken(subject));
  }

  async #countTaken(): Promise<number> {
    const names = new Set(Object.keys(this.#options.workers()).map(workConsumerName));
    let taken = 0;
    for await (const { name, num_pending, num_ack_pending } of this.#manager.consumers.list(STREAM.work)) {
      if (names.has(name)) taken += num_pending + num_ack_pending;
    }
    return taken;
  }

  async #clear(stream: string, subject: string, signal: AbortSignal, beat: () => void): Promise<void> {
    let seq = 1;
    while (!signal.aborted) {
      const stored = await nextMessage(this.#manager, stream, subject, seq);
      if (stored === null) return;
      if (!(await this.#options.isHeld(stream, stored.seq))) await this.#clearOne(stream, stored);
      beat();
      seq = stored.seq + 1;
    }
  }

  async #clearOne(stream: string, stored: StoredMsg): Promise<void> {
    const { store, metrics } = this.#options;
    const source: MessageSource = { stream, seq: stored.seq, storedAt: nanosOfTimestamp(stored.timestamp) };
    const worker = stream === STREAM.workRetry ? (parseWorkRetrySubject(stored.subject)?.worker ?? "") : "";
    const message = { ...source, subject: stored.subject, headers: headerValues(stored.header) };
    const original = workItem(worker, message) ?? asFreshItem(worker, message);
    const { rejection } = rejected("UNKNOWN_QUEUE", "", "configure a worker that takes this subject, and publish it again");
    const { id } = original;
    await store.deadLetters.rejected({ queue: "work", type: worker, id, source, rejection, original, body: stored.data });
    await store.messages.remove(source, undefined);
    metrics.messagesFailed.inc({ queue: UNCONFIGURED_QUEUE });
  }
}

interface Unrouted {
  readonly stream: string;
  readonly subject: string;
  readonly count: number;
}
