import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { queueOfConsumer, STREAM } from "../../libs/contract/streams.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";

/** How much waits or runs on each queue, as its two consumers count it. */
export class QueueGauges {
  readonly #manager: JetStreamManager;
  readonly #queues: () => Readonly<Record<string, unknown>>;
  readonly #metrics: Metrics;

  private constructor(manager: JetStreamManager, queues: () => Readonly<Record<string, unknown>>, metrics: Metrics) {
    this.#manager = manager;
    this.#queues = queues;
    this.#metrics = metrics;
  }

  static async open(options: {
    readonly connection: NatsConnection;
    readonly queues: () => Readonly<Record<string, unknown>>;
    readonly metrics: Metrics;
  }): Promise<QueueGauges> {
    return new QueueGauges(await jetstreamManager(options.connection), options.queues, options.metrics);
  }

  async sweep(): Promise<void> {
    const lengths = new Map(Object.keys(this.#queues()).map((queue) => [queue, 0]));
    for (const stream of [STREAM.jobs, STREAM.retry]) {
      for await (const { name, num_pending, num_ack_pending } of this.#manager.consumers.list(stream)) {
        const queue = queueOfConsumer(name) ?? "";
        const known = lengths.get(queue);
        if (known !== undefined) lengths.set(queue, known + num_pending + num_ack_pending);
      }
    }
    this.#metrics.queueLength.reset();
    for (const [queue, length] of lengths) this.#metrics.queueLength.set({ queue }, length);
  }
}
