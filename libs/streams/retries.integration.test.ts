import { headers } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { KeptMessage } from "../contract/event.ts";
import { jobHash } from "../contract/names.ts";
import type { JobRecord } from "../contract/record.ts";
import { parseRetryMessage, RETRY_HEADER } from "../contract/retry-message.ts";
import { STREAM } from "../contract/streams.ts";
import { recordIn } from "../contract/testing/records.ts";
import type { Broker } from "./broker.ts";
import { headerValues, JetStreamBroker } from "./jetstream-broker.ts";
import { keptMessage } from "./messages.ts";
import { Retries } from "./retries.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
import { type Delivered, INSTANCE, queuesOf, Workbench } from "./testing/workbench.ts";

const QUEUES = ["default", "fires", "hostile", "killed", "clock", "unacked"];
let server: NatsTestServer;
let bench: Workbench;
let broker: JetStreamBroker;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: QUEUES });
  broker = await JetStreamBroker.open(bench.connection);
});
afterAll(() => server[Symbol.asyncDispose]());

const inMs = (delayMs: number): string => new Date(Date.now() + delayMs).toISOString();
const AN_HOUR_MS = 3_600_000;
const PAST = "2026-01-01T00:00:00.000Z";

/** A record that awaits attempt 2. */
function awaiting(queue: string, id: string, notBefore: string, rest: Partial<JobRecord> = {}): JobRecord {
  return recordIn("retrying", { id, queue, hash: jobHash(INSTANCE, queue, id), next: { attempt: 2, notBefore }, ...rest });
}
const message = (text: string, rest: Partial<KeptMessage> = {}): KeptMessage => ({
  subject: "jobs.default.hello",
  headers: {},
  bodyBase64: Buffer.from(text).toString("base64"),
  ...rest,
});
/** The server says of a message that a schedule has published it. */
const slept = ({ message: fired }: Delivered): boolean => fired.headers?.has("Nats-Scheduler") === true;
const kept = (record: JobRecord): Promise<string[]> => bench.kept(record.queue, record.hash);

describe("S2: a retry goes to RETRY", () => {
  it("due: at once under its queue's subject, asleep: under a subject that no consumer sees", async () => {
    const due = awaiting("default", "due", PAST);
    const asleep = awaiting("default", "asleep", inMs(AN_HOUR_MS));
    await bench.store.retries.publish(due, message("x"));
    await bench.store.retries.publish(asleep, message("x"));
    expect([await kept(due), await kept(asleep)]).toEqual([["due 2"], ["at 2"]]);
    for (const record of [due, asleep]) {
      const source = await bench.store.retries.waiting(record, 2);
      expect(source !== undefined && (await bench.holds(source))).toBe(true);
      expect(await bench.store.retries.waiting(record, 3)).toBeUndefined();
    }
    expect(await bench.store.retries.holds(due, 2)).toBe(true);
    expect(await bench.store.retries.holds(asleep, 2)).toBe(true);
    expect(await bench.store.retries.holds(asleep, 3)).toBe(false);
  });

  it("once, however many publish it at the same time", async () => {
    const records = [awaiting("default", "many-due", PAST), awaiting("default", "many-asleep", inMs(AN_HOUR_MS))];
    for (const record of records) {
      await Promise.all(Array.from({ length: 20 }, () => bench.store.retries.publish(record, message("x"))));
      expect(await kept(record)).toHaveLength(1);
    }
  });

  it("not again while one is due, sleeps, or was pulled and is not yet acknowledged", async () => {
    const record = awaiting("unacked", "held", PAST);
    const later = awaiting("unacked", "held", inMs(AN_HOUR_MS));
    await bench.store.retries.publish(record, message("x"));
    await bench.store.retries.publish(later, message("x"));
    const pulled = await bench.one("unacked", STREAM.retry);
    await bench.store.retries.publish(record, message("x"));
    await bench.store.retries.publish(later, message("x"));
    expect(await kept(record)).toEqual(["due 2"]);
    await pulled.message.ackAck();
    await bench.store.retries.publish(later, message("x"));
    await bench.store.retries.publish(record, message("x"));
    expect(await kept(record)).toEqual(["at 2"]);
  });

  it("D8: the record's own due message does not count: it goes back to sleep", async () => {
    const record = awaiting("unacked", "again", PAST);
    await bench.store.retries.publish(record, message("x"));
    const { source, ack } = await bench.one("unacked", STREAM.retry);
    const delayed = awaiting("unacked", "again", inMs(AN_HOUR_MS), { source });
    await bench.store.retries.publish(delayed, message("x"));
    await bench.store.retries.publish(delayed, message("x"));
    expect(await kept(record)).toEqual(["at 2", "due 2"]);
    await bench.store.messages.remove(source, ack);
    expect(await kept(record)).toEqual(["at 2"]);
  });

  it("P1: a sleeping one is taken back, and nobody else's; a cancel of none is no error", async () => {
    const [one, other] = [awaiting("default", "cancelled", inMs(AN_HOUR_MS)), awaiting("default", "other", inMs(AN_HOUR_MS))];
    await bench.store.retries.publish(one, message("x"));
    await bench.store.retries.publish(other, message("x"));
    await bench.store.retries.cancel(one.hash, 2);
    await bench.store.retries.cancel(one.hash, 2);
    expect([await kept(one), await kept(other)]).toEqual([[], ["at 2"]]);
  });
});

describe("S6: a schedule fires", () => {
  it("under the queue's subject, once, with the engine's headers and the producer's bytes", async () => {
    const bytes = Buffer.from([0, 255, 10, 128]);
    const next = { attempt: 2, notBefore: inMs(1_000), memory: { main: "48Mi" } };
    const record = awaiting("fires", "größer\n", PAST, { next, life: 3, counts: { free: 0, blocked: 0, refused: 2 } });
    const original = message("", { headers: { "X-Name": ["wert ü", "zwei"] }, bodyBase64: bytes.toString("base64") });
    await bench.store.retries.publish(record, original);
    const fired = await bench.one("fires", STREAM.retry);
    expect(slept(fired)).toBe(true);
    expect(parseRetryMessage(fired.message.subject, headerValues(fired.message.headers))).toEqual({
      ...{ id: "größer\n", hash: record.hash, queue: "fires", type: "hello", attempt: 2, life: 3, refused: 2 },
      ...{ memory: { main: "48Mi" }, messageHash: "m1" },
      original: { subject: "jobs.default.hello", headers: { "X-Name": ["wert ü", "zwei"] } },
    });
    expect(await bench.store.messages.read(fired.source)).toEqual(original);
    expect(await kept(record)).toEqual(["due 2"]);
  });

  it("N5: and can be put to sleep and fired again, whatever Nats-* headers producer and server had set", async () => {
    const nats = {
      "Nats-Expected-Stream": ["JOBS"],
      "Nats-Msg-Id": ["x"],
      "Nats-Schedule": ["@every 1s"],
      "Nats-Rollup": ["all"],
      "Nats-TTL": ["1s"],
    };
    const original = message("body", { headers: nats });
    await bench.store.retries.publish(awaiting("hostile", "nats", inMs(300)), original);
    const first = await bench.one("hostile", STREAM.retry);
    const found = await bench.store.messages.read(first.source);
    if (found === undefined) throw new Error("the fired message is not there");
    await bench.store.retries.publish(awaiting("hostile", "nats", inMs(300), { source: first.source }), found);
    await bench.store.messages.remove(first.source, first.ack);
    const second = await bench.one("hostile", STREAM.retry);
    expect(await bench.store.messages.read(second.source)).toEqual(original);
    expect(second.message.headers?.get("Nats-Schedule")).toBe("");
    expect(await kept(awaiting("hostile", "nats", PAST))).toEqual(["due 2"]);
  });

  it("schedules that sleep outlive kill -9 of the server: none is lost", async () => {
    const records = Array.from({ length: 60 }, (_, index) => awaiting("killed", `job-${index}`, inMs(1_500 + index * 10)));
    await Promise.all(records.slice(0, 30).map((record) => bench.store.retries.publish(record, message(record.id))));
    await server.restart();
    await Promise.all(records.slice(30).map((record) => bench.store.retries.publish(record, message(record.id))));
    await server.restart();
    const fired = new Set<string>();
    while (fired.size < records.length) {
      const { message: due } = await bench.one("killed", STREAM.retry);
      const said = parseRetryMessage(due.subject, headerValues(due.headers));
      expect(due.string()).toBe(said?.id);
      fired.add(due.string());
      await due.ackAck();
    }
    expect([...fired].toSorted()).toEqual(records.map(({ id }) => id).toSorted());
  });
});

describe("S6: the server's clock decides", () => {
  /** Ours is behind the server's by the offset; it is our clock that a record's `notBefore` comes from. */
  const behindBy = (offsetMs: number): Retries => {
    const shifted = new Proxy<Broker>(broker, {
      get: (_target, key) => {
        if (key === "clockOffsetMs") return async () => offsetMs;
        const member: unknown = Reflect.get(broker, key, broker);
        return typeof member === "function" ? member.bind(broker) : member;
      },
    });
    return new Retries({ broker: shifted, nowMs: () => Date.now() - offsetMs });
  };

  it.each([
    ["behind", AN_HOUR_MS],
    ["ahead of", -AN_HOUR_MS],
  ])("a retry sleeps as long as it should where our clock is an hour %s the server's", async (what, offsetMs) => {
    const record = awaiting("clock", what, new Date(Date.now() - offsetMs + 1_000).toISOString());
    await behindBy(offsetMs).publish(record, message(what));
    const fired = await bench.one("clock", STREAM.retry);
    expect(slept(fired)).toBe(true);
    expect(fired.message.string()).toBe(what);
    await fired.message.ackAck();
  });

  it("the offset is measured once for all who ask at the same time, and once more after a failure", async () => {
    const own = await JetStreamBroker.open(bench.connection);
    const asked = bench.connection.subscribe("$JS.API.STREAM.INFO.RETRY");
    const together = () => Promise.all(Array.from({ length: 20 }, () => own.clockOffsetMs()));
    await bench.manager.streams.delete(STREAM.retry);
    await expect(together()).rejects.toThrow();
    await bench.provisioner.streams();
    await bench.provisioner.consumers(queuesOf(QUEUES));
    const before = asked.getReceived();
    expect(new Set(await together()).size).toBe(1);
    await bench.connection.flush();
    expect(asked.getReceived() - before).toBe(1);
    asked.unsubscribe();
  });

  it.each([
    ["ahead", AN_HOUR_MS],
    ["back", -AN_HOUR_MS],
  ])("the offset is measured again when our clock is set %s by an hour", async (_what, setByMs) => {
    const own = await JetStreamBroker.open(bench.connection);
    expect(Math.abs(await own.clockOffsetMs())).toBeLessThan(60_000);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + setByMs });
    try {
      expect(Math.abs((await own.clockOffsetMs()) + setByMs)).toBeLessThan(60_000);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("N4: what lies in RETRY is read as a retry only there", () => {
  it("the same headers in JOBS mean nothing", async () => {
    const head = headers();
    head.set(RETRY_HEADER.subject, '"jobs.other.x"');
    const stored = { stream: STREAM.jobs, subject: "jobs.default.x", headers: headerValues(head), data: new Uint8Array() };
    expect(keptMessage(stored).subject).toBe("jobs.default.x");
  });
});
