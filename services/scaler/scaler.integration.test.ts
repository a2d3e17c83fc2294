import { status } from "@grpc/grpc-js";
import { connect, type NatsConnection, PermissionViolationError } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { STREAM, workConsumerName } from "../../libs/contract/streams.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { KedaClient } from "./testing/keda-client.ts";
import { Scaler, ScalerBench, type TestWorker } from "./testing/scaler-bench.ts";
import { TcpLink } from "./testing/tcp-link.ts";

let bench: ScalerBench;
let scaler: Scaler;
let worker: TestWorker;
beforeAll(async () => {
  bench = await ScalerBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(async () => {
  worker = await bench.worker();
  scaler = await Scaler.open(bench.nats);
});
afterEach(() => scaler[Symbol.asyncDispose]());

const portOf = ({ url }: NatsTestServer): number => Number(new URL(url).port);

/** What a test waits for without an event. */
const soon = (check: () => void | Promise<void>): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 20 });

async function replaceScaler(options: { readonly pollMs: number; readonly unusedAfterMs?: number }): Promise<void> {
  await scaler[Symbol.asyncDispose]();
  scaler = await Scaler.open(bench.nats, options);
}

/** How often anybody looked at a consumer since this was called. */
function countRequests(): () => number {
  let asked = 0;
  bench.streams.connection.subscribe("$JS.API.CONSUMER.INFO.>", {
    callback: () => {
      asked += 1;
    },
  });
  return () => asked;
}

describe("a worker's lag", () => {
  it("is what waits and what is being worked on, of both streams; retries that sleep are not in it", async () => {
    expect(await scaler.keda.lag(worker.metadata)).toBe(0);
    for (let count = 0; count < 3; count += 1) await worker.publish();
    await worker.sleep(3_600_000);
    expect(await scaler.keda.lag(worker.metadata)).toBe(3);
    const running = await worker.take();
    expect(await scaler.keda.lag(worker.metadata)).toBe(3);
    await running.ackAck();
    expect(await scaler.keda.lag(worker.metadata)).toBe(2);
    await worker.sleep(-1_000);
    await soon(async () => expect(await scaler.keda.lag(worker.metadata)).toBe(3));
    await worker.work(STREAM.workRetry);
    expect(await scaler.keda.lag(worker.metadata)).toBe(2);
  });

  it("is divided among pods by the lagThreshold, which needs no broker", async () => {
    const { name, metadata } = bench.unprovisioned();
    expect(await scaler.keda.metricSpec({ ...metadata, lagThreshold: "7" })).toEqual({
      metricSpecs: [{ metricName: `millrace-${name}`, targetSize: 7, targetSizeFloat: 7 }],
    });
  });
});

describe("KEDA is told, on the stream that it has open,", () => {
  it("at once what is known, then of a publish, then that all is done", async () => {
    await replaceScaler({ pollMs: 200 });
    const stream = scaler.keda.stream(worker.metadata);
    expect(await stream.next()).toBe(false);
    await worker.publish();
    expect(await stream.next()).toBe(true);
    expect(await scaler.keda.isActive(worker.metadata)).toBe(true);
    await worker.work();
    expect(await stream.next()).toBe(false);
    expect(await scaler.keda.isActive(worker.metadata)).toBe(false);
    expect(stream.pushes).toEqual([false, true, false]);
  });

  it("of a publish without any poll: the message itself wakes the scaler", async () => {
    const stream = scaler.keda.stream(worker.metadata);
    expect(await stream.next()).toBe(false);
    await worker.publish();
    expect(await stream.next()).toBe(true);
    expect(scaler.events("worker.active")).toEqual([
      { event: "worker.active", fields: { worker: worker.name, lag: 1, cause: "published", streams: 1 } },
    ]);
    expect(await scaler.metric("millrace_scaler_activations_total")).toEqual([
      `millrace_scaler_activations_total{worker="${worker.name}",cause="published",service="scaler"} 1`,
    ]);
  });

  it("of a retry whose time has come, without any poll", async () => {
    const stream = scaler.keda.stream(worker.metadata);
    expect(await stream.next()).toBe(false);
    const dueMs = await worker.sleep(1_500);
    expect(await stream.next()).toBe(true);
    expect(Date.now()).toBeGreaterThanOrEqual(dueMs);
    expect(stream.pushes).toEqual([false, true]);
    expect(scaler.events("worker.active")[0]?.fields).toMatchObject({ cause: "due" });
  });

  it("of a retry that is due when it is made", async () => {
    const stream = scaler.keda.stream(worker.metadata);
    expect(await stream.next()).toBe(false);
    await worker.due();
    expect(await stream.next()).toBe(true);
  });

  it("of a retry that slept before the scaler began to watch its worker", async () => {
    await worker.sleep(3_600_000);
    // Long enough for the stream to be open before.
    await worker.sleep(4_000);
    const stream = scaler.keda.stream(worker.metadata);
    expect(await stream.next()).toBe(false);
    expect(await stream.next()).toBe(true);
    expect(scaler.events("worker.active")[0]?.fields).toMatchObject({ cause: "due" });
  });

  it("at once of what was there before the scaler began", async () => {
    await worker.publish();
    const stream = scaler.keda.stream(worker.metadata);
    expect(await stream.next()).toBe(true);
    expect(stream.pushes).toEqual([true]);
  });

  it("of what is being worked on as long as that lasts", async () => {
    await replaceScaler({ pollMs: 50 });
    await worker.publish();
    const running = await worker.take();
    const stream = scaler.keda.stream(worker.metadata);
    expect(await stream.next()).toBe(true);
    const looks = async (): Promise<number> => Number((await scaler.metric("millrace_scaler_looks_total"))[0]?.split(" ")[1]);
    const before = await looks();
    await soon(async () => expect(await looks()).toBeGreaterThan(before + 4));
    expect(stream.pushes).toEqual([true]);
    await running.ackAck();
    expect(await stream.next()).toBe(false);
  });

  it("of messages that come and are done between two looks: a steady trickle is work", async () => {
    const stream = scaler.keda.stream(worker.metadata);
    expect(await stream.next()).toBe(false);
    const running = worker.work();
    await worker.publish();
    await running;
    expect(await stream.next()).toBe(true);
    expect(await scaler.keda.isActive(worker.metadata)).toBe(true);
  });

  it("on every stream of the worker, and on none of another's", async () => {
    const other = await bench.worker();
    const streams = [scaler.keda.stream(worker.metadata), scaler.keda.stream(worker.metadata)];
    const aside = scaler.keda.stream(other.metadata);
    for (const stream of [...streams, aside]) expect(await stream.next()).toBe(false);
    await worker.publish();
    for (const stream of streams) expect(await stream.next()).toBe(true);
    expect(scaler.watches.size).toBe(2);
    await other.publish();
    expect(await aside.next()).toBe(true);
    expect(aside.pushes).toEqual([false, true]);
  });

  it("again and again while there is work: KEDA loses some, and counts its cooldown from the last", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    try {
      await worker.publish();
      const stream = scaler.keda.stream(worker.metadata);
      expect(await stream.next()).toBe(true);
      await scaler.keda.isActive(worker.metadata);
      expect(stream.pushes).toEqual([true]);
      vi.advanceTimersByTime(10_000);
      await scaler.keda.isActive(worker.metadata);
      expect(await stream.next()).toBe(true);
    } finally {
      vi.useRealTimers();
    }
  });
});

it("a burst of publishes makes a few looks, and a scaler that has work to tell of hears no more of them", async () => {
  const stream = scaler.keda.stream(worker.metadata);
  expect(await stream.next()).toBe(false);
  const asked = countRequests();
  const heard = scaler.connection.stats().inMsgs;
  const publishing = bench.streams.connection;
  for (let count = 0; count < 10_000; count += 1) publishing.publish(worker.subject, "{}");
  await publishing.flush();
  expect(await stream.next()).toBe(true);
  await soon(async () => expect(await bench.streams.count(STREAM.work, worker.subject)).toBe(10_000));
  expect(asked()).toBeLessThan(20);
  expect(scaler.connection.stats().inMsgs - heard).toBeLessThan(2_000);
  expect(stream.pushes).toEqual([false, true]);
});

it("publishes that are not stored cost a few looks a second, not one each", async () => {
  // Nothing of JetStream takes this subject, though the ScaledObject names it.
  const metadata = { ...worker.metadata, subject: `nowhere.${worker.name}` };
  const stream = scaler.keda.stream(metadata);
  expect(await stream.next()).toBe(false);
  const asked = countRequests();
  const beganMs = performance.now();
  for (let count = 0; count < 500; count += 1) {
    bench.streams.connection.publish(`nowhere.${worker.name}`, "{}");
    await bench.streams.connection.flush();
  }
  await scaler.keda.isActive(metadata);
  const looks = asked() / 2;
  expect(looks).toBeGreaterThan(1);
  // Ten after the first hint, and after one that comes when nobody looks any more; else four a second.
  expect(looks).toBeLessThan(10 + (performance.now() - beganMs) / 100);
  expect(stream.pushes).toEqual([false]);
});

it("a hint that comes before its message is stored is not in vain", async () => {
  // Heard by the scaler, stored by nobody; the worker's own messages it does not hear.
  const metadata = { ...worker.metadata, subject: `nowhere.${worker.name}` };
  const stream = scaler.keda.stream(metadata);
  expect(await stream.next()).toBe(false);
  const asked = countRequests();
  bench.streams.connection.publish(`nowhere.${worker.name}`, "{}");
  await soon(() => expect(asked()).toBeGreaterThan(0));
  await worker.publish();
  expect(await stream.next()).toBe(true);
});

describe("the slow poll", () => {
  it("finds what no hint told", async () => {
    await replaceScaler({ pollMs: 100 });
    // Hints of another subject than its messages have.
    const metadata = { ...worker.metadata, subject: `nowhere.${worker.name}` };
    const stream = scaler.keda.stream(metadata);
    expect(await stream.next()).toBe(false);
    await worker.publish();
    expect(await stream.next()).toBe(true);
    expect(scaler.events("worker.active")[0]?.fields).toMatchObject({ cause: "polled" });
  });
});

describe("a worker that NATS has no consumer of", () => {
  it("is an error that says what to do, not 0; its stream stays open until it is there", async () => {
    await replaceScaler({ pollMs: 100 });
    const coming = bench.unprovisioned();
    const stream = scaler.keda.stream(coming.metadata);
    const expected = {
      code: status.NOT_FOUND,
      details: expect.stringContaining(`no consumer ${workConsumerName(coming.name)} on WORK`),
    };
    await expect(scaler.keda.lag(coming.metadata)).rejects.toMatchObject(expected);
    await expect(scaler.keda.isActive(coming.metadata)).rejects.toMatchObject(expected);
    expect(stream.pushes).toEqual([]);
    expect(scaler.events("worker.unknown")).toHaveLength(1);
    await bench.provision(coming);
    expect(await stream.next()).toBe(false);
  });

  it("any more is one, too: what was known of it before is not told as if it were true", async () => {
    await worker.publish();
    expect(await scaler.keda.lag(worker.metadata)).toBe(1);
    await bench.streams.manager.consumers.delete(STREAM.workRetry, workConsumerName(worker.name));
    await expect(scaler.keda.lag(worker.metadata)).rejects.toMatchObject({ code: status.NOT_FOUND });
    expect(scaler.watches.holding()).toEqual([]);
    const stream = scaler.keda.stream(worker.metadata);
    await soon(() => expect(scaler.server.streams).toBe(1));
    expect(stream.pushes).toEqual([]);
    await bench.provision(worker);
    await scaler.keda.isActive(worker.metadata);
    expect(await stream.next()).toBe(true);
  });
});

describe("metadata of a ScaledObject is refused", () => {
  it.each([
    ["no worker", { worker: undefined }, "worker"],
    ["a worker that is no name", { worker: "a.b" }, "worker must be the name of a worker"],
    ["everything as a subject", { subject: ">" }, "subject must be"],
    ["everything of something as a subject, with a wildcard first", { subject: "*.resize" }, "subject must be"],
    ["a subject of ours", { subject: "jobs.default.hello" }, "subject must not begin with"],
    ["an inbox as a subject", { subject: "$JS.API.>" }, "subject must be"],
    ["a threshold of 0", { lagThreshold: "0" }, "lagThreshold must be"],
    ["a threshold that is no number", { lagThreshold: "1e3" }, "lagThreshold must be"],
  ])("%s", async (_, change, sentence) => {
    const changed = Object.entries({ ...worker.metadata, ...change });
    const metadata = Object.fromEntries(changed.filter((entry): entry is [string, string] => entry[1] !== undefined));
    const refused = { code: status.INVALID_ARGUMENT, details: expect.stringContaining(sentence) };
    await expect(scaler.keda.isActive(metadata)).rejects.toMatchObject(refused);
    await expect(scaler.keda.lag(metadata)).rejects.toMatchObject(refused);
    await expect(scaler.keda.metricSpec(metadata)).rejects.toMatchObject(refused);
    expect(await scaler.keda.stream(metadata).ended()).toMatchObject(refused);
    expect(scaler.watches.size).toBe(0);
  });
});

describe("streams", () => {
  it("that KEDA closes or loses are forgotten, and so is, after a while, the worker", async () => {
    await replaceScaler({ pollMs: 3_600_000, unusedAfterMs: 100 });
    const closed = scaler.keda.stream(worker.metadata);
    const link = await TcpLink.to(scaler.server.port);
    using keda = new KedaClient(link.port);
    const lost = keda.stream(worker.metadata);
    for (const stream of [closed, lost]) expect(await stream.next()).toBe(false);
    expect(scaler.server.streams).toBe(2);
    await closed.cancel();
    link[Symbol.dispose]();
    await soon(() => expect(scaler.server.streams).toBe(0));
    await soon(() => expect(scaler.watches.size).toBe(0));
    expect(await scaler.metric("millrace_scaler_lag")).toEqual([]);
    expect(await scaler.metric("millrace_scaler_streams")).toEqual(['millrace_scaler_streams{service="scaler"} 0']);
  });

  it("are ended when the scaler stops, not cut: KEDA comes again after two seconds, after an error ever later", async () => {
    const stream = scaler.keda.stream(worker.metadata);
    expect(await stream.next()).toBe(false);
    await scaler.server.stop();
    expect(await stream.ended()).toBe("ended");
    expect(scaler.server.streams).toBe(0);
  });

  it("of metric specs are not implemented, and KEDA asks for the spec instead", async () => {
    const stream = scaler.keda.stream(worker.metadata, "StreamMetricSpec");
    expect(await stream.ended()).toMatchObject({ code: status.UNIMPLEMENTED });
  });
});

describe("while the broker forbids to hear what wakes", () => {
  const FORBIDDEN =
    'authorization { users: [{ user: a, password: a, permissions: { subscribe: { deny: ["image.>", "work.>"] } } }] }';

  async function refusals(connection: NatsConnection, count: number): Promise<void> {
    let seen = 0;
    for await (const { type, ...status } of connection.status()) {
      if (type === "error" && "error" in status && status.error instanceof PermissionViolationError) seen += 1;
      if (seen === count) return;
    }
  }

  it("nothing is lost for ever: it is heard without any poll once the broker allows it, when the scaler comes again", async () => {
    await using forbidding = await NatsTestServer.start({ config: FORBIDDEN });
    using link = await TcpLink.to(portOf(forbidding));
    const connection = await connect({
      ...{ servers: `127.0.0.1:${link.port}`, user: "a", pass: "a" },
      ...{ maxReconnectAttempts: -1, reconnectTimeWait: 20, reconnectJitter: 20 },
    });
    await scaler[Symbol.asyncDispose]();
    scaler = await Scaler.open(bench.nats, { connection });
    const sleeper = await bench.worker();
    const refused = refusals(connection, 6);
    const streams = [worker, sleeper].map(({ metadata }) => scaler.keda.stream(metadata));
    await refused;
    link.redirect(portOf(bench.nats));
    for (const stream of streams) expect(await stream.next()).toBe(false);
    await worker.publish();
    await sleeper.sleep(200);
    for (const stream of streams) expect(await stream.next()).toBe(true);
  });
});

describe("while the broker is away", () => {
  afterEach(() => bench.nats.restart());

  it("the last value is held, for both the HPA and KEDA, and said to be old; nothing is pushed", async () => {
    for (let count = 0; count < 3; count += 1) await worker.publish();
    const stream = scaler.keda.stream(worker.metadata);
    expect(await stream.next()).toBe(true);
    await bench.nats.kill();
    await soon(() => expect(scaler.events("worker.holding")).toHaveLength(1));
    expect(scaler.events("worker.holding")[0]?.fields).toMatchObject({ worker: worker.name, lag: 3 });
    expect(await scaler.keda.lag(worker.metadata)).toBe(3);
    expect(await scaler.keda.isActive(worker.metadata)).toBe(true);
    expect(stream.pushes).toEqual([true]);
    const [sentence = ""] = scaler.watches.holding();
    expect(sentence).toMatch(new RegExp(`^worker ${worker.name}: a lag of 3 is held for \\d+ s: not connected for \\d+ s`));
    const held = await scaler.metric("millrace_scaler_holding_seconds{");
    expect(Number(held[0]?.split(" ")[1])).toBeGreaterThan(0);
  });

  it("a worker that nothing is known of yet is an error: KEDA then keeps its pods as they are", async () => {
    await bench.nats.kill();
    const stream = scaler.keda.stream(worker.metadata);
    await expect(scaler.keda.lag(worker.metadata)).rejects.toMatchObject({ code: status.UNAVAILABLE });
    await expect(scaler.keda.isActive(worker.metadata)).rejects.toMatchObject({ code: status.UNAVAILABLE });
    expect(stream.pushes).toEqual([]);
    await bench.nats.restart();
    expect(await stream.next()).toBe(false);
  });

  it("a worker whose consumers were removed before has no last value: the one before that is not held", async () => {
    await worker.publish();
    expect(await scaler.keda.lag(worker.metadata)).toBe(1);
    expect(await scaler.metric("millrace_scaler_lag{")).toHaveLength(1);
    await bench.streams.manager.consumers.delete(STREAM.work, workConsumerName(worker.name));
    await expect(scaler.keda.lag(worker.metadata)).rejects.toMatchObject({ code: status.NOT_FOUND });
    await bench.nats.kill();
    await soon(() => expect(scaler.events("worker.holding")).toHaveLength(1));
    await expect(scaler.keda.lag(worker.metadata)).rejects.toMatchObject({ code: status.UNAVAILABLE });
    await expect(scaler.keda.isActive(worker.metadata)).rejects.toMatchObject({ code: status.UNAVAILABLE });
    const stream = scaler.keda.stream(worker.metadata);
    await soon(() => expect(scaler.server.streams).toBe(1));
    expect(stream.pushes).toEqual([]);
    expect(scaler.watches.holding()).toEqual([]);
    expect(await scaler.metric("millrace_scaler_lag{")).toEqual([]);
    const [unconfirmed] = await scaler.metric("millrace_scaler_holding_seconds{");
    expect(Number(unconfirmed?.split(" ")[1])).toBeGreaterThan(0);
  });

  it("nothing is lost: when it is back, what came and what is done is found at once, and hints wake it again", async () => {
    const other = await bench.worker();
    await other.publish();
    const stream = scaler.keda.stream(worker.metadata);
    expect(await stream.next()).toBe(false);
    expect(await scaler.keda.lag(other.metadata)).toBe(1);
    await bench.nats.restart();
    await soon(async () => expect(await scaler.keda.isActive(worker.metadata)).toBe(false));
    await soon(() => expect(scaler.watches.holding()).toEqual([]));
    expect(await scaler.keda.lag(other.metadata)).toBe(1);
    expect(stream.pushes).toEqual([false]);
    await worker.publish();
    expect(await stream.next()).toBe(true);
    expect((await scaler.metric("millrace_scaler_holding_seconds{")).map((line) => line.split(" ")[1])).toEqual(["0", "0"]);
  });
});
