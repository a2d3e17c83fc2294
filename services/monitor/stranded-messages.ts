import { type ConsumerInfo, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { consumerName, STREAM, workConsumerName } from "../../libs/contract/streams.ts";
import type { Log } from "../../libs/runtime/log.ts";
import { isMissing } from "../../libs/streams/errors.ts";
import { nextMessage } from "../../libs/streams/next-message.ts";

interface StrandedMessagesOptions {
  readonly queues: () => Readonly<Record<string, unknown>>;
  readonly workers: () => Readonly<Record<string, unknown>>;
  readonly log: Log;
}

/**
 * Messages that the stream holds though their consumer has counted them as acknowledged: a server whose disk was full forgets removals when it starts
 * anew (T: nats-server 2.15.2), and gives these to nobody again. The consumer is removed; the one that is made in its place delivers whatever is
 * there, and rules D3–D6 say what becomes of each: what has ended goes, what runs is held again. Of a worker's messages their claims say it (rule W1).
 */
export class StrandedMessages {
  readonly #manager: JetStreamManager;
  readonly #queues: () => Readonly<Record<string, unknown>>;
  readonly #workers: () => Readonly<Record<string, unknown>>;
  readonly #log: Log;
  /** The oldest of each consumer at the last sweep: a removal that is just under way looks the same once. */
  #before: ReadonlyMap<string, number> = new Map();

  private constructor(manager: JetStreamManager, options: StrandedMessagesOptions) {
    this.#manager = manager;
    this.#queues = options.queues;
    this.#workers = options.workers;
    this.#log = options.log;
  }

  static async open(options: StrandedMessagesOptions & { readonly connection: NatsConnection }): Promise<StrandedMessages> {
    return new StrandedMessages(await jetstreamManager(options.connection), options);
  }

  async sweep(signal: AbortSignal): Promise<void> {
    const found = new Map<string, number>();
    for (const { stream, consumer } of this.#consumers()) {
      if (signal.aborted) return;
      const seq = await this.#stranded(stream, consumer);
      if (seq === undefined) continue;
      const key = `${stream} ${consumer}`;
      if (this.#before.get(key) !== seq) {
        found.set(key, seq);
        continue;
      }
      this.#log.warn("messages.stranded", { consumer, stream, seq, hint: "acknowledged and still there; delivered again" });
      await this.#manager.consumers.delete(stream, consumer);
    }
    this.#before = found;
  }

  *#consumers(): IterableIterator<{ readonly stream: string; readonly consumer: string }> {
    for (const queue of Object.keys(this.#queues())) {
      for (const stream of [STREAM.jobs, STREAM.retry]) yield { stream, consumer: consumerName(queue) };
    }
    for (const worker of Object.keys(this.#workers())) {
      for (const stream of [STREAM.work, STREAM.workRetry]) yield { stream, consumer: workConsumerName(worker) };
    }
  }

  /** The oldest message of a consumer, when it is one of those; a pause, which would be lost with its consumer, is waited for. */
  async #stranded(stream: string, consumer: string): Promise<number | undefined> {
    const info = await this.#consumer(stream, consumer);
    if (info === undefined || info.paused === true) return undefined;
    const { ack_floor: floor, config } = info;
    if (floor.stream_seq === 0) return undefined;
    const oldest = await nextMessage(this.#manager, stream, config.filter_subject ?? ">", 1);
    return oldest !== null && oldest.seq <= floor.stream_seq ? oldest.seq : undefined;
  }

  async #consumer(stream: string, consumer: string): Promise<ConsumerInfo | undefined> {
    try {
      return await this.#manager.consumers.info(stream, consumer);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }
}
