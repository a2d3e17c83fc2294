import { setTimeout as delay } from "node:timers/promises";
import { type ConsumerInfo, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import type { Pause } from "../contract/requests.ts";
import { consumerName, queueOfConsumer, STREAM } from "../contract/streams.ts";
import { isMissing } from "./errors.ts";

/** What one of a queue's two consumers says of itself. */
export interface ConsumerView {
  /** Not handed out yet. */
  readonly waiting: number;
  /** Handed out and not acknowledged: each holds a slot. */
  readonly inUse: number;
  readonly limit: number;
  /** The last stream sequence that was handed out. */
  readonly deliveredSeq: number;
  readonly pause: Pause | undefined;
}

export interface QueueView {
  readonly jobs: ConsumerView | undefined;
  readonly retry: ConsumerView | undefined;
}

/** The broker wants a date; this one says "until somebody resumes it". */
const FOR_EVER = "2199-01-01T00:00:00.000Z";

/** How far ahead a pause is let end: longer than a request takes, and than the clocks of a broker's servers differ. */
const END_AHEAD_MS = { first: 100, longest: 5_000 } as const;

/** The broker keeps them with its pause; nothing is decided by them. */
const METADATA = { reason: "millrace.dev/pause-reason", by: "millrace.dev/paused-by" } as const;

/** A queue's consumers on JOBS and RETRY, and their pause (rule P4), which is the broker's own: it survives every restart of ours. */
export class QueueConsumers {
  readonly #manager: JetStreamManager;

  private constructor(manager: JetStreamManager) {
    this.#manager = manager;
  }

  static async open(connection: NatsConnection): Promise<QueueConsumers> {
    return new QueueConsumers(await jetstreamManager(connection));
  }

  /** The queues that the broker has consumers of. */
  async queues(): Promise<string[]> {
    const found: string[] = [];
    for await (const info of this.#manager.consumers.list(STREAM.jobs)) {
      const queue = queueOfConsumer(info.name);
      if (queue !== undefined) found.push(queue);
    }
    return found;
  }

  async view(queue: string): Promise<QueueView> {
    const [jobs, retry] = await Promise.all([this.#info(STREAM.jobs, queue), this.#info(STREAM.retry, queue)]);
    return { jobs: jobs && consumerView(jobs), retry: retry && consumerView(retry) };
  }

  /**
   * Holds back everything that is not handed out yet; acknowledgements go on. The reason is written first, so that nobody ever sees a pause
   * without one.
   */
  async pause(queue: string, pause: Pause): Promise<void> {
    for (const info of await this.#existing(queue)) {
      await this.#describe(info, pause);
      await this.#manager.consumers.pause(info.stream_name, info.name, new Date(pause.until ?? FOR_EVER));
    }
  }

  /** Resolves when it is over. */
  async resume(queue: string): Promise<void> {
    const consumers = await this.#existing(queue);
    await Promise.all(consumers.filter(({ paused }) => paused === true).map((info) => this.#end(info)));
    for (const info of consumers) await this.#describe(info, {});
  }

  /**
   * The broker (2.15.2) wakes the requests that wait for messages only when a pause ends by its own timer, not when it is cleared: they would get
   * nothing before their next sign of life. So the pause is let end a moment from now, by the broker's clock. When that moment has passed before
   * the broker heard of it, the pause is over and woke nobody, and a later one is tried.
   */
  async #end({ stream_name, name }: ConsumerInfo): Promise<void> {
    const { consumers } = this.#manager;
    for (let aheadMs: number = END_AHEAD_MS.first; aheadMs <= END_AHEAD_MS.longest; aheadMs *= 2) {
      const { ts = new Date().toISOString() } = await consumers.info(stream_name, name);
      const until = new Date(Date.parse(ts) + aheadMs);
      const { paused } = await consumers.pause(stream_name, name, until);
      if (!paused) continue;
      await delay(aheadMs);
      return;
    }
  }

  async #existing(queue: string): Promise<ConsumerInfo[]> {
    const found = await Promise.all([this.#info(STREAM.jobs, queue), this.#info(STREAM.retry, queue)]);
    return found.filter((info) => info !== undefined);
  }

  async #info(stream: string, queue: string): Promise<ConsumerInfo | undefined> {
    try {
      return await this.#manager.consumers.info(stream, consumerName(queue));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async #describe(info: ConsumerInfo, { reason, by }: Pause): Promise<void> {
    const { [METADATA.reason]: oldReason, [METADATA.by]: oldBy, ...others } = info.config.metadata ?? {};
    if (oldReason === reason && oldBy === by) return;
    await this.#manager.consumers.update(info.stream_name, info.name, {
      metadata: {
        ...others,
        ...(reason === undefined ? {} : { [METADATA.reason]: reason }),
        ...(by === undefined ? {} : { [METADATA.by]: by }),
      },
    });
  }
}

function consumerView(info: ConsumerInfo): ConsumerView {
  return {
    waiting: info.num_pending,
    inUse: info.num_ack_pending,
    limit: info.config.max_ack_pending ?? 0,
    deliveredSeq: info.delivered.stream_seq,
    pause: info.paused === true ? pauseOf(info) : undefined,
  };
}

function pauseOf({ config }: ConsumerInfo): Pause {
  const until = config.pause_until;
  const reason = config.metadata?.[METADATA.reason];
  const by = config.metadata?.[METADATA.by];
  return {
    ...(until === undefined || Date.parse(until) >= Date.parse(FOR_EVER) ? {} : { until }),
    ...(reason === undefined ? {} : { reason }),
    ...(by === undefined ? {} : { by }),
  };
}
