import type { NatsConnection, Subscription } from "@nats-io/transport-node";
import { z } from "zod";

const advisory = z.object({ stream_seq: z.number() });

/** How often messages of a stream were handed back (NAK) since this was opened, as NATS tells of it. */
export class HandedBack implements Disposable {
  readonly #times = new Map<number, number>();
  readonly #subscription: Subscription;

  private constructor(connection: NatsConnection, stream: string) {
    this.#subscription = connection.subscribe(`$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.${stream}.>`, {
      callback: (_, message) => {
        const { stream_seq: seq } = advisory.parse(message.json());
        this.#times.set(seq, this.times(seq) + 1);
      },
    });
  }

  static async open(connection: NatsConnection, stream: string): Promise<HandedBack> {
    const handedBack = new HandedBack(connection, stream);
    await connection.flush();
    return handedBack;
  }

  times(seq: number): number {
    return this.#times.get(seq) ?? 0;
  }

  [Symbol.dispose](): void {
    this.#subscription.unsubscribe();
  }
}
