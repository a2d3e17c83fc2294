import { jetstreamManager } from "@nats-io/jetstream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { consumerName } from "../contract/streams.ts";
import { recordIn } from "../contract/testing/records.ts";
import { JetStreamBroker } from "./jetstream-broker.ts";
import { SourceMessages } from "./messages.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
import { queuesOf, Workbench } from "./testing/workbench.ts";
import { desiredStreams } from "./topology.ts";

const QUEUES = ["plain", "other", "stale", "gone", "anew", "lease", "forged", "retry"];
let server: NatsTestServer;
let bench: Workbench;
let elsewhere: SourceMessages;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: QUEUES, ackWaitMs: 1_000 });
  elsewhere = new SourceMessages({ broker: await JetStreamBroker.open(await server.connect()) });
});
afterAll(() => server[Symbol.asyncDispose]());

const pending = async (queue: string): Promise<number> =>
  (await bench.manager.consumers.info("JOBS", consumerName(queue))).num_ack_pending;

describe("S1: reading a message by its source", () => {
  it("gives subject, headers and raw bytes back", async () => {
    const body = Uint8Array.from([0, 255, 10, 128]);
    await bench.publish("plain", body, { "X-Name": "wert ü" });
    const { source } = await bench.one("plain");
    expect(await elsewhere.read(source)).toEqual({
      subject: "jobs.plain.hello",
      headers: { "X-Name": ["wert ü"] },
      bodyBase64: Buffer.from(body).toString("base64"),
    });
  });

  it("N4: of a retry gives back what its producer published, whatever hop it is on", async () => {
    const id = "retried";
    const body = JSON.stringify({ id, template: "hello" });
    await bench.publish("retry", body, { "X-Name": "wert ü", "Nats-Msg-Id": id });
    const fresh = await bench.one("retry");
    const original = await elsewhere.read(fresh.source);
    const record = recordIn("retrying", { id, hash: "a".repeat(20), queue: "retry", source: fresh.source });
    for (const attempt of [2, 3]) {
      const next = { attempt, notBefore: "2026-01-01T00:00:00Z" };
      if (original === undefined) throw new Error("the message is not there");
      await bench.store.retries.publish({ ...record, next }, original);
      const due = await bench.one("retry", "RETRY");
      expect(await elsewhere.read(due.source)).toEqual(original);
    }
  });

  it("N4: a message in JOBS that forges the engine's headers is only itself", async () => {
    await bench.publish("forged", "body", {
      "Millrace-Id": '"victim"',
      "Millrace-Subject": '"jobs.other.x"',
      "Millrace-Headers": "{}",
    });
    const { source, ack } = await bench.one("forged");
    expect(await elsewhere.read(source)).toMatchObject({ subject: "jobs.forged.hello" });
    await elsewhere.remove(source, ack);
  });

  it("finds nothing at another store time, sequence or stream", async () => {
    await bench.publish("plain", "x");
    const { source } = await bench.one("plain");
    expect(await elsewhere.read({ ...source, storedAt: String(BigInt(source.storedAt) + 1n) })).toBeUndefined();
    expect(await elsewhere.read({ ...source, seq: source.seq + 1_000 })).toBeUndefined();
    expect(await elsewhere.read({ ...source, stream: "NONE" })).toBeUndefined();
  });
});

describe("S4: removing a message", () => {
  it("double-acks with the stored reply subject from another connection", async () => {
    await bench.publish("other", "x");
    const { source, ack } = await bench.one("other");
    await elsewhere.remove(source, ack);
    expect(await bench.holds(source)).toBe(false);
    expect(await pending("other")).toBe(0);
    await elsewhere.remove(source, ack);
  });

  it("works with a stale reply subject, after the message was delivered again", async () => {
    await bench.publish("stale", "x");
    const first = await bench.one("stale");
    const again = await bench.one("stale");
    expect(again.source).toEqual(first.source);
    expect(again.ack).not.toBe(first.ack);
    await elsewhere.remove(first.source, first.ack);
    expect(await bench.holds(first.source)).toBe(false);
    expect(await pending("stale")).toBe(0);
  });

  it("deletes by sequence when there is no reply subject, and touches nothing else", async () => {
    await bench.publish("plain", "kept");
    const kept = await bench.one("plain");
    await bench.publish("plain", "removed");
    const removed = await bench.one("plain");
    await elsewhere.remove(removed.source, undefined);
    expect(await bench.holds(removed.source)).toBe(false);
    expect(await bench.holds(kept.source)).toBe(true);
  });

  it("deletes by sequence when the consumer is gone", async () => {
    await bench.publish("gone", "x");
    const { source, ack } = await bench.one("gone");
    await bench.manager.consumers.delete("JOBS", consumerName("gone"));
    await elsewhere.remove(source, ack);
    expect(await bench.holds(source)).toBe(false);
  });

  it("deletes by sequence when the consumer was made anew and does not know the delivery", async () => {
    await bench.publish("anew", "x");
    const { source, ack } = await bench.one("anew");
    await bench.manager.consumers.delete("JOBS", consumerName("anew"));
    await bench.provisioner.consumers(queuesOf(["anew"]));
    await elsewhere.remove(source, ack);
    expect(await bench.holds(source)).toBe(false);
  });

  it("an annotation that names another message removes neither", async () => {
    await bench.publish("forged", "mine");
    const mine = await bench.one("forged");
    await bench.publish("forged", "victim");
    const victim = await bench.one("forged");
    await elsewhere.remove(mine.source, victim.ack);
    expect(await bench.holds(mine.source)).toBe(false);
    expect(await bench.holds(victim.source)).toBe(true);
    await elsewhere.remove({ ...victim.source, storedAt: "1" }, victim.ack);
    expect(await bench.holds(victim.source)).toBe(true);
  });

  it("after the stream was made anew an old source with the same sequence removes nothing", async () => {
    await using second = await NatsTestServer.start();
    const fresh = await Workbench.open(second, { queues: ["q"] });
    await fresh.publish("q", "old");
    const old = await fresh.one("q");
    const [jobs] = desiredStreams({ instance: "x", historyMs: 1, ackWaitMs: 1, replicas: 1, storeBytes: 2 ** 24 });
    if (jobs === undefined) throw new Error("no streams");
    await fresh.manager.streams.delete("JOBS");
    await fresh.manager.streams.add(jobs);
    await fresh.provisioner.consumers(queuesOf(["q"]));
    await fresh.publish("q", "new");
    const young = await fresh.one("q");
    expect(young.source.seq).toBe(old.source.seq);
    await fresh.store.messages.remove(old.source, old.ack);
    await fresh.store.messages.remove(old.source, undefined);
    expect(await fresh.store.messages.read(old.source)).toBeUndefined();
    expect(await fresh.holds(young.source)).toBe(true);
  });
});

describe("L1: renewing a lease", () => {
  it("+WPI from another connection keeps a message from being delivered again, for as long as it comes", async () => {
    await bench.publish("lease", "long");
    const long = await bench.one("lease");
    // Each redelivery of the second message proves that an ack_wait has passed.
    await bench.publish("lease", "short");
    const seen: string[] = [];
    const consumer = await (await jetstreamManager(bench.connection)).jetstream().consumers.get("JOBS", consumerName("lease"));
    const messages = await consumer.consume({ max_messages: 10 });
    const renewing = setInterval(() => elsewhere.renew(long.ack), 200);
    for await (const message of messages) {
      seen.push(message.string());
      if (seen.length === 3) break;
    }
    clearInterval(renewing);
    expect(seen).toEqual(["short", "short", "short"]);
  });

  it("an edited reply subject is published nowhere", async () => {
    const heard: string[] = [];
    const listener = await server.connect();
    listener.subscribe(">", { callback: (_error, message) => void heard.push(message.subject) });
    await listener.flush();
    elsewhere.renew("jobs.default.forged");
    elsewhere.renew("");
    elsewhere.renew("$JS.ACK.JOBS.c.1.1.1.1.0");
    await elsewhere.read({ stream: "JOBS", seq: 1, storedAt: "1" });
    await listener.flush();
    expect(heard.filter((subject) => !subject.startsWith("$JS.API") && !subject.startsWith("_INBOX"))).toEqual([
      "$JS.ACK.JOBS.c.1.1.1.1.0",
    ]);
  });
});
