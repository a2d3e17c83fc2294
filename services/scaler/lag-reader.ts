import { type ConsumerInfo, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { MillraceError } from "../../libs/contract/errors.ts";
import { STREAM, workConsumerName } from "../../libs/contract/streams.ts";
import { isMissing } from "../../libs/streams/errors.ts";

/** KEDA waits for the answer, without a limit of its own. */
const ANSWER_MS = 2_000;

export interface Lag {
  /** Messages that wait, due retries too, and those that are being worked on: what runs keeps its pods. */
  readonly count: number;
  /** Grows with each delivery. */
  readonly deliveries: number;
  /** How far the server's clock is ahead of ours (rule S6). */
  readonly clockOffsetMs: number;
}

/** The truth about a worker's backlog: its two consumers, asked for over the JetStream API. */
export class LagReader {
  readonly #manager: JetStreamManager;

  private constructor(manager: JetStreamManager) {
    this.#manager = manager;
  }

  static async open(connection: NatsConnection): Promise<LagReader> {
    // Whether JetStream answers is asked with each look.
    return new LagReader(await jetstreamManager(connection, { timeout: ANSWER_MS, checkAPI: false }));
  }

  /** @throws MillraceError `WORKER_UNKNOWN` when NATS has no consumer of this worker; whatever the broker's trouble is otherwise */
  async read(worker: string): Promise<Lag> {
    const beganMs = Date.now();
    const infos = await Promise.all([STREAM.work, STREAM.workRetry].map((stream) => this.#info(stream, worker)));
    const middleMs = (beganMs + Date.now()) / 2;
    const serverMs = Date.parse(infos[0]?.ts ?? "");
    return {
      count: infos.reduce((sum, { num_pending, num_ack_pending }) => sum + num_pending + num_ack_pending, 0),
      deliveries: infos.reduce((sum, { delivered }) => sum + delivered.consumer_seq, 0),
      clockOffsetMs: Number.isNaN(serverMs) ? 0 : serverMs - middleMs,
    };
  }

  async #info(stream: string, worker: string): Promise<ConsumerInfo> {
    const consumer = workConsumerName(worker);
    try {
      return await this.#manager.consumers.info(stream, consumer);
    } catch (error) {
      if (!isMissing(error)) throw error;
      throw new MillraceError(
        "WORKER_UNKNOWN",
        `NATS has no consumer ${consumer} on ${stream}: the monitor makes it when ${worker} is among the chart's workers; look at the monitor's log`,
        { cause: error },
      );
    }
  }
}
