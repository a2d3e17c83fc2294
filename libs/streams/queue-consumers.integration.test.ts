import { createInbox } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { parseAckSubject } from "../contract/source.ts";
import { STREAM } from "../contract/streams.ts";
import { QueueConsumers } from "./queue-consumers.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
import { queuesOf, Workbench } from "./testing/workbench.ts";

const QUEUE = "default";
const PAUSE = { until: "2100-01-01T00:00:00Z", reason: "database upgrade", by: "ann" };

let server: NatsTestServer;
let bench: Workbench;
let consumers: QueueConsumers;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: [QUEUE, "other"] });
  consumers = await QueueConsumers.open(bench.connection);
});
afterEach(() => void vi.restoreAllMocks());
afterAll(() => server[Symbol.asyncDispose]());

const pauses = async (queue: string) => {
  const { jobs, retry } = await consumers.view(queue);
  return [jobs?.pause, retry?.pause];
};

describe("P4: a queue's pause is the broker's own", () => {
  it("both consumers are paused with their reason, other queues are not, and resuming leaves nothing behind", async () => {
    await consumers.pause(QUEUE, PAUSE);
    expect(await pauses(QUEUE)).toEqual([PAUSE, PAUSE]);
    expect(await pauses("other")).toEqual([undefined, undefined]);
    await consumers.resume(QUEUE);
    expect(await pauses(QUEUE)).toEqual([undefined, undefined]);
    await consumers.pause(QUEUE, {});
    expect(await pauses(QUEUE)).toEqual([{}, {}]);
    await consumers.resume(QUEUE);
  });

  it("provisioning changes slots and keeps pause and reason, and so does a restart of the server", async () => {
    await consumers.pause(QUEUE, PAUSE);
    await bench.provisioner.consumers(queuesOf([QUEUE]));
    expect(await pauses(QUEUE)).toEqual([PAUSE, PAUSE]);
    const config = queuesOf([QUEUE]);
    Object.assign(config.queues[QUEUE] ?? {}, { slots: 7 });
    await bench.provisioner.consumers(config);
    expect((await consumers.view(QUEUE)).jobs?.limit).toBe(7);
    await server.restart();
    expect(await pauses(QUEUE)).toEqual([PAUSE, PAUSE]);
    await consumers.resume(QUEUE);
  });

  it("nothing is handed out while it lasts, what was handed out can be acknowledged, and the rest comes afterwards", async () => {
    await bench.publish(QUEUE, "one");
    const { message, source } = await bench.one(QUEUE);
    await consumers.pause(QUEUE, PAUSE);
    await bench.publish(QUEUE, "two");
    await message.ackAck();
    expect(await bench.holds(source)).toBe(false);
    expect((await consumers.view(QUEUE)).jobs).toMatchObject({ waiting: 1, inUse: 0, deliveredSeq: source.seq });
    const consumer = await bench.client.consumers.get(STREAM.jobs, `queue-${QUEUE}`);
    expect(await consumer.next({ expires: 1_000 })).toBeNull();
    await consumers.resume(QUEUE);
    expect((await bench.one(QUEUE)).message.string()).toBe("two");
  });

  it.each([
    ["of new messages", STREAM.jobs, 0],
    ["of retries", STREAM.retry, 0],
    ["by a clock that is an hour fast", STREAM.jobs, 3_600_000],
    ["by a clock that is an hour slow", STREAM.jobs, -3_600_000],
  ])("resuming hands out what waits to a request that was open all the while: %s", async (_how, stream, aheadMs) => {
    vi.spyOn(Date, "now").mockImplementation(() => performance.timeOrigin + performance.now() + aheadMs);
    await consumers.pause(QUEUE, PAUSE);
    const subject = stream === STREAM.jobs ? `jobs.${QUEUE}.hello` : `retry.run.${QUEUE}.hash.1`;
    const { seq } = await bench.client.publish(subject, "waits");
    const inbox = createInbox();
    const answers = bench.connection.subscribe(inbox, { max: 1 });
    // It asks for no heartbeats, each of which would have the server look again: before its end only the resumption can.
    const request = JSON.stringify({ batch: 1, expires: 5_000_000_000 });
    bench.connection.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.queue-${QUEUE}`, request, { reply: inbox });
    await expect.poll(async () => (await bench.manager.consumers.info(stream, `queue-${QUEUE}`)).num_waiting).toBe(1);
    await consumers.resume(QUEUE);
    expect(await pauses(QUEUE)).toEqual([undefined, undefined]);
    for await (const answer of answers) {
      expect(answer.headers?.description, "the end of the request").toBeUndefined();
      expect(parseAckSubject(answer.reply ?? "")).toMatchObject({ stream, seq });
      answer.respond("+ACK");
    }
  });

  it("resuming a queue that is not paused holds nothing back", async () => {
    const asked = bench.connection.subscribe("$JS.API.CONSUMER.PAUSE.>");
    await consumers.resume("other");
    await bench.connection.flush();
    expect(asked.getReceived()).toBe(0);
    asked.unsubscribe();
  });

  it("a pause whose time is over is none", async () => {
    await consumers.pause("other", { until: new Date(Date.now() - 1_000).toISOString(), reason: "over" });
    expect(await pauses("other")).toEqual([undefined, undefined]);
  });
});
