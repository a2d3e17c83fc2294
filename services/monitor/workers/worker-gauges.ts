import { type ConsumerInfo, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { STREAM, workerOfConsumer } from "../../../libs/contract/streams.ts";
import { workAtFilter, workDeadLetterSubject } from "../../../libs/contract/work-subjects.ts";
import type { Metrics } from "../../../libs/runtime/metrics.ts";
import { countMessages, countSubjects } from "../../../libs/streams/message-counts.ts";
import { nextMessage } from "../../../libs/streams/next-message.ts";

interface Backlog {
  waiting: number;
  held: number;
  oldestMs: number;
}

/** How many messages of each worker wait, are held or sleep, for how long, and what is in the DLQ: counted by the broker. */
export class WorkerGauges {
  readonly #connection: NatsConnection;
  readonly #manager: JetStreamManager;
  readonly #workers: () => Readonly<Record<string, unknown>>;
  readonly #metrics: WorkerMetrics;

  private constructor(connection: NatsConnection, manager: JetStreamManager, options: WorkerGaugesOptions) {
    this.#connection = connection;
    this.#manager = manager;
    this.#workers = options.workers;
    this.#metrics = options.metrics;
  }

  static async open(options: WorkerGaugesOptions & { readonly connection: NatsConnection }): Promise<WorkerGauges> {
    return new WorkerGauges(options.connection, await jetstreamManager(options.connection), options);
  }

  async sweep(): Promise<void> {
    const workers = Object.keys(this.#workers());
    await this.#measureBacklogs(workers);
    this.#metrics.workerDeadLetters.reset();
    for (const worker of workers) {
      const entries = await countMessages(this.#manager, STREAM.deadLetters, workDeadLetterSubject(worker, ">"));
      this.#metrics.workerDeadLetters.set({ worker }, entries);
    }
  }

  async #measureBacklogs(workers: readonly string[]): Promise<void> {
    const { workerMessages, workerOldestWaiting } = this.#metrics;
    const backlogs = new Map<string, Backlog>(workers.map((worker) => [worker, { waiting: 0, held: 0, oldestMs: 0 }]));
    // The broker is asked about workers only where there are any.
    for (const stream of workers.length === 0 ? [] : [STREAM.work, STREAM.workRetry]) {
      for await (const consumer of this.#manager.consumers.list(stream)) {
        const backlog = backlogs.get(workerOfConsumer(consumer.name) ?? "");
        if (backlog === undefined) continue;
        backlog.waiting += consumer.num_pending;
        backlog.held += consumer.num_ack_pending;
        if (consumer.num_pending > 0) backlog.oldestMs = Math.max(backlog.oldestMs, await this.#oldestMs(stream, consumer));
      }
    }
    const sleeping = new Map<string, number>();
    for (const worker of workers) {
      sleeping.set(worker, await countSubjects(this.#connection, STREAM.workRetry, workAtFilter(worker)));
    }
    workerMessages.reset();
    workerOldestWaiting.reset();
    for (const [worker, { waiting, held, oldestMs }] of backlogs) {
      workerMessages.set({ worker, state: "waiting" }, waiting);
      workerMessages.set({ worker, state: "held" }, held);
      workerMessages.set({ worker, state: "sleeping" }, sleeping.get(worker) ?? 0);
      workerOldestWaiting.set({ worker }, oldestMs / 1000);
    }
  }

  /** The age of the first message that no worker was given, by the broker's clock. */
  async #oldestMs(stream: string, { config, delivered, ts }: ConsumerInfo): Promise<number> {
    const first = await nextMessage(this.#manager, stream, config.filter_subject ?? ">", delivered.stream_seq + 1);
    if (first === null) return 0;
    const nowMs = ts === undefined ? Date.now() : Date.parse(ts);
    return Math.max(0, nowMs - first.time.getTime());
  }
}

type WorkerMetrics = Pick<Metrics, "workerMessages" | "workerOldestWaiting" | "workerDeadLetters">;

interface WorkerGaugesOptions {
  readonly workers: () => Readonly<Record<string, unknown>>;
  readonly metrics: WorkerMetrics;
}
