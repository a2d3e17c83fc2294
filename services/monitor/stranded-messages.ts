import { type ConsumerInfo, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { consumerName, STREAM } from "../../libs/contract/streams.ts";
import type { Log } from "../../libs/runtime/log.ts";
import { isMissing } from "../../libs/streams/errors.ts";
import { nextMessage } from "../../libs/streams/next-message.ts";

/**
 * Messages that the stream holds though their consumer has counted them as acknowledged: a server whose disk was full forgets removals when it starts
 * anew (T: nats-server 2.15.2), and gives these to nobody again. The consumer is removed; the one that is made in its place delivers whatever is
 * there, and rules D3–D6 say what becomes of each: what has ended goes, what runs is held again.
 */
export class StrandedMessages {
  readonly #manager: JetStreamManager;
  readonly #queues: () => Readonly<Record<string, unknown>>;
  readonly #log: Log;
  /** The oldest of each consumer at the last sweep: a removal that is just under way looks the same once. */
  #before: ReadonlyMap<string, number> = new Map();

  private constructor(manager: JetStreamManager, queues: () => Readonly<Record<string, unknown>>, log: Log) {
    this.#manager = manager;
    this.#queues = queues;
    this.#log = log;
  }

  static async open(options: {
    readonly connection: NatsConnection;
    readonly queues: () => Readonly<Record<string, unknown>>;
    readonly log: Log;
  }): Promise<StrandedMessages> {
    return new StrandedMessages(await jetstreamManager(options.connection), options.queues, options.log);
  }

  async sweep(signal: AbortSignal): Promise<void> {
    const found = new Map<string, number>();
    for (const queue of Object.keys(this.#queues())) {
      for (const stream of [STREAM.jobs, STREAM.retry]) {
        if (signal.aborted) return;
        const seq = await this.#stranded(stream, queue);
        if (seq === undefined) continue;
        const key = `${stream} ${queue}`;
        if (this.#before.get(key) !== seq) {
          found.set(key, seq);
          continue;
        }
        this.#log.warn("messages.stranded", { queue, stream, seq, hint: "acknowledged and still there; delivered again" });
        await this.#manager.consumers.delete(stream, consumerName(queue));
      }
    }
    this.#before = found;
  }

  /** The oldest message of a queue, when it is one of those; a pause, which would be lost with its consumer, is waited for. */
  async #stranded(stream: string, queue: string): Promise<number | undefined> {
    const info = await this.#consumer(stream, queue);
    if (info === undefined || info.paused === true) return undefined;
    const { ack_floor: floor, config } = info;
    if (floor.stream_seq === 0) return undefined;
    const oldest = await nextMessage(this.#manager, stream, config.filter_subject ?? ">", 1);
    return oldest !== null && oldest.seq <= floor.stream_seq ? oldest.seq : undefined;
  }

  async #consumer(stream: string, queue: string): Promise<ConsumerInfo | undefined> {
    try {
      return await this.#manager.consumers.info(stream, consumerName(queue));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }
}
