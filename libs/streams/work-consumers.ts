import { AckPolicy, type ConsumerInfo, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { type NatsConnection, nanos } from "@nats-io/transport-node";
import { STREAM, workConsumerName } from "../contract/streams.ts";
import { isMissing } from "./errors.ts";

/** A worker's two streams. What is to be tried again goes before what is new. */
export const WORK_STREAMS = [STREAM.workRetry, STREAM.work] as const;

/** A worker's two consumers, as somebody sees them who only uses them. They are made by the monitor alone, from the chart's values. */
export class WorkConsumers {
  readonly #connection: NatsConnection;
  readonly #worker: string;
  readonly #ackWaitMs: number;
  #manager: JetStreamManager | undefined;

  constructor(options: { readonly connection: NatsConnection; readonly worker: string; readonly ackWaitMs: number }) {
    this.#connection = options.connection;
    this.#worker = options.worker;
    this.#ackWaitMs = options.ackWaitMs;
  }

  /**
   * Why the worker must not pull, undefined when it may. A consumer that is made up on the spot would have none of what its messages rely on, and
   * one with another ack_wait would give them away while they are worked on.
   */
  async problem(): Promise<string | undefined> {
    for (const stream of WORK_STREAMS) {
      const problem = await this.#problemOn(stream);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  async #problemOn(stream: string): Promise<string | undefined> {
    const name = workConsumerName(this.#worker);
    this.#manager ??= await jetstreamManager(this.#connection, { checkAPI: false });
    try {
      const { config } = await this.#manager.consumers.info(stream, name);
      return this.#difference(`consumer ${name} on ${stream}`, config);
    } catch (error) {
      if (!isMissing(error)) throw error;
      return `consumer ${name} on ${stream} is not there: the monitor makes it when the chart's values have workers.${this.#worker}`;
    }
  }

  #difference(what: string, { ack_policy, ack_wait = 0, max_deliver = -1 }: ConsumerInfo["config"]): string | undefined {
    if (ack_wait !== nanos(this.#ackWaitMs)) {
      return `${what} has an ack_wait of ${ack_wait / 1e9} s, and ACK_WAIT is ${this.#ackWaitMs / 1000} s; both must be the chart's`;
    }
    if (ack_policy !== AckPolicy.Explicit || max_deliver !== -1) {
      return `${what} was changed by hand: it must ask for explicit acknowledgements, without max_deliver; remove it, and the monitor makes it anew`;
    }
    return undefined;
  }
}
