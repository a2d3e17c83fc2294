import { afterAll, beforeAll } from "vitest";
import { nanosOfTimestamp } from "../contract/source.ts";
import { consumerName, STREAM } from "../contract/streams.ts";
import { JetStreamBroker } from "./jetstream-broker.ts";
import { replySubject } from "./messages.ts";
import { brokerConformance, type ConformanceBench } from "./testing/broker-conformance.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
import { Workbench } from "./testing/workbench.ts";

const QUEUE = "q";
const SLOTS = 3;
const WAIT_MS = 10_000;

let server: NatsTestServer;
let bench: Workbench;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: [QUEUE], ackWaitMs: 1_000 });
  for (const stream of [STREAM.jobs, STREAM.retry]) {
    await bench.manager.consumers.update(stream, consumerName(QUEUE), { max_ack_pending: SLOTS });
  }
});
afterAll(() => server[Symbol.asyncDispose]());

async function open(): Promise<ConformanceBench> {
  const { client, manager, connection } = bench;
  const info = (stream: string) => manager.consumers.info(stream, consumerName(QUEUE));
  return {
    broker: await JetStreamBroker.open(connection),
    slots: SLOTS,
    async produce(body) {
      const seq = await bench.publish(QUEUE, body);
      const stored = await manager.streams.getMessage(STREAM.jobs, { seq });
      return { stream: STREAM.jobs, seq, storedAt: nanosOfTimestamp(stored?.timestamp ?? "") };
    },
    async deliver(stream) {
      const consumer = await client.consumers.get(stream, consumerName(QUEUE));
      const message = await consumer.next({ expires: WAIT_MS });
      if (message === null) throw new Error(`${stream} delivered nothing`);
      return { replySubject: replySubject(message), subject: message.subject, deliveries: message.info.deliveryCount };
    },
    async idle(stream) {
      const { num_pending, num_ack_pending } = await info(stream);
      return num_ack_pending >= SLOTS || num_pending === 0;
    },
    async handBack(reply) {
      connection.publish(reply, "-NAK");
      await connection.flush();
    },
    unacked: async (stream) => (await info(stream)).num_ack_pending,
    nowMs: Date.now,
  };
}

brokerConformance("nats-server", open);
