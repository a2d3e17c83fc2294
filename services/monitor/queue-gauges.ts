import { type ConsumerInfo, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { queueOfConsumer, STREAM } from "../../libs/contract/streams.ts";
import { deadLettersFilter } from "../../libs/contract/subjects.ts";
import { type Metrics, UNCONFIGURED_QUEUE } from "../../libs/runtime/metrics.ts";
import { countMessages } from "../../libs/streams/message-counts.ts";
import { nextMessage } from "../../libs/streams/next-message.ts";

/** They have a gauge of their own. */
const WORK_DEAD_LETTERS = deadLettersFilter("work");

/** What is known of one queue after its two consumers were asked. */
interface Backlog {
  length: number;
  oldestMs: number;
}

/** How much waits or runs on each queue, for how long, and what is in the DLQ: counted by the broker, in a few requests for each queue. */
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
    const queues = Object.keys(this.#queues());
    await this.#measureBacklogs(queues);
    await this.#countDeadLetters(queues);
  }

  async #measureBacklogs(queues: readonly string[]): Promise<void> {
    const { queueLength, oldestWaiting } = this.#metrics;
    const backlogs = new Map<string, Backlog>(queues.map((queue) => [queue, { length: 0, oldestMs: 0 }]));
    for (const stream of [STREAM.jobs, STREAM.retry]) {
      for await (const consumer of this.#manager.consumers.list(stream)) {
        const backlog = backlogs.get(queueOfConsumer(consumer.name) ?? "");
        if (backlog === undefined) continue;
        backlog.length += consumer.num_pending + consumer.num_ack_pending;
        if (consumer.num_pending > 0) backlog.oldestMs = Math.max(backlog.oldestMs, await this.#oldestMs(stream, consumer));
      }
    }
    queueLength.reset();
    oldestWaiting.reset();
    for (const [queue, { length, oldestMs }] of backlogs) {
      queueLength.set({ queue }, length);
      oldestWaiting.set({ queue }, oldestMs / 1000);
    }
  }

  /** The age of the first message that the consumer has not delivered, by the broker's clock. What was delivered and waits still is a dispatcher's. */
  async #oldestMs(stream: string, { config, delivered, ts }: ConsumerInfo): Promise<number> {
    const first = await nextMessage(this.#manager, stream, config.filter_subject ?? ">", delivered.stream_seq + 1);
    if (first === null) return 0;
    const nowMs = ts === undefined ? Date.now() : Date.parse(ts);
    return Math.max(0, nowMs - first.time.getTime());
  }

  /** Entries of queues that are not configured, as those of a misspelt subject, stand together. */
  async #countDeadLetters(queues: readonly string[]): Promise<void> {
    const counts = new Map<string, number>();
    // Every entry has a subject of its own, so that a list of subjects would be as long as the DLQ.
    for (const queue of queues) counts.set(queue, await this.#count(deadLettersFilter(queue)));
    const { state } = await this.#manager.streams.info(STREAM.deadLetters);
    const ofWorkers = await this.#count(WORK_DEAD_LETTERS);
    const configured = [...counts.values()].reduce((sum, count) => sum + count, ofWorkers);
    counts.set(UNCONFIGURED_QUEUE, Math.max(0, state.messages - configured));
    this.#metrics.deadLetters.reset();
    for (const [queue, count] of counts) this.#metrics.deadLetters.set({ queue }, count);
  }

  #count(filter: string): Promise<number> {
    return countMessages(this.#manager, STREAM.deadLetters, filter);
  }
}
