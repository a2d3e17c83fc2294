import { type ConsumerInfo, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { STREAM, workerOfConsumer } from "../../../libs/contract/streams.ts";
import { subjectsOverlap, type WorkerConfig } from "../../../libs/contract/work-config.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import type { Patience } from "../patience.ts";

export interface RemovedWorkersOptions {
  readonly connection: NatsConnection;
  readonly workers: () => Readonly<Record<string, Pick<WorkerConfig, "subject">>>;
  /** Whether somebody works on a message of this consumer now. */
  readonly isConsumerHeld: (stream: string, consumer: string) => Promise<boolean>;
  readonly patience: Patience;
  readonly log: Log;
}

/**
 * The consumers that a worker leaves behind that is not configured any more. They go when nothing waits for them and nothing is unacknowledged; at
 * once, when another worker takes the same subject, which the broker refuses as long as they are there (a worker that was renamed). What waits
 * stays in the stream, for that worker or for `UnroutedWork`.
 */
export class RemovedWorkers {
  readonly #manager: JetStreamManager;
  readonly #options: Omit<RemovedWorkersOptions, "connection">;

  private constructor(manager: JetStreamManager, options: RemovedWorkersOptions) {
    this.#manager = manager;
    this.#options = options;
  }

  static async open(options: RemovedWorkersOptions): Promise<RemovedWorkers> {
    return new RemovedWorkers(await jetstreamManager(options.connection), options);
  }

  async sweep(signal: AbortSignal): Promise<void> {
    const { workers, patience, log } = this.#options;
    for (const worker of Object.keys(workers())) patience.over(patienceKey(worker));
    for (const stream of [STREAM.work, STREAM.workRetry]) {
      for await (const consumer of this.#manager.consumers.list(stream)) {
        if (signal.aborted) return;
        const worker = workerOfConsumer(consumer.name);
        if (worker === undefined || Object.hasOwn(workers(), worker)) continue;
        const isOver = patience.isExhausted(patienceKey(worker)) && consumer.num_pending === 0 && consumer.num_ack_pending === 0;
        if (!isOver && !(await this.#isInTheWay(stream, consumer))) continue;
        await this.#manager.consumers.delete(stream, consumer.name);
        log.info("consumer.removed", { stream, worker });
      }
    }
  }

  async #isInTheWay(stream: string, { name, config }: ConsumerInfo): Promise<boolean> {
    const filter = config.filter_subject ?? ">";
    const subjects = stream === STREAM.work ? Object.values(this.#options.workers()).map(({ subject }) => subject) : [];
    return subjects.some((subject) => subjectsOverlap(subject, filter)) && !(await this.#options.isConsumerHeld(stream, name));
  }
}

/** Queues are waited for under their own names. */
const patienceKey = (worker: string): string => `worker ${worker}`;
