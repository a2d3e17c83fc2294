import { type ConsumerMessages, DeliverPolicy, type JsMsg, jetstream } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";

/** All that a stream holds at this moment, by a consumer that is gone afterwards whatever happens: one that is left would count as stray. */
export async function streamMessages(connection: NatsConnection, stream: string): Promise<JsMsg[]> {
  const consumer = await jetstream(connection).consumers.get(stream, { deliver_policy: DeliverPolicy.All });
  let messages: ConsumerMessages | undefined;
  try {
    if ((await consumer.info(true)).num_pending === 0) return [];
    messages = await consumer.consume();
    const found: JsMsg[] = [];
    for await (const message of messages) {
      found.push(message);
      if (message.info.pending === 0) break;
    }
    return found;
  } finally {
    await messages?.close();
    // Whoever cannot reach NATS hears of that from the read.
    await consumer.delete().catch(() => false);
  }
}
