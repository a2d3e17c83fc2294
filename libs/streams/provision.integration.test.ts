import { jetstreamManager } from "@nats-io/jetstream";
import { headers } from "@nats-io/transport-node";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { connectNats, isSupported, natsEnv } from "./connection.ts";
import { Provisioner } from "./provision.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
import { queuesOf } from "./testing/workbench.ts";
import { desiredStreams, type TopologyOptions } from "./topology.ts";

const topology: TopologyOptions = {
  instance: "ns.rel",
  historyMs: 86_400_000,
  ackWaitMs: 30_000,
  replicas: 1,
  storeBytes: 100 * 2 ** 20,
};
let server: NatsTestServer;
beforeAll(async () => {
  server = await NatsTestServer.start();
});
afterAll(() => server[Symbol.asyncDispose]());

async function manager() {
  return jetstreamManager(await server.connect());
}
async function provisioner(rest: Partial<TopologyOptions> = {}) {
  return new Provisioner({ connection: await server.connect(), topology: { ...topology, ...rest } });
}
async function snapshot(): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const { config } of (await manager()).streams.list()) found.push(config);
  return found;
}

describe("design §4.3: provisioning", () => {
  beforeEach(async () => {
    const jsm = await manager();
    for await (const { config } of jsm.streams.list()) await jsm.streams.delete(config.name);
  });

  it("makes every stream, bounded, within 90 % of the store, and the same again changes nothing", async () => {
    const once = await provisioner();
    await once.streams();
    const first = await snapshot();
    expect(first.map((config) => z.object({ name: z.string() }).parse(config).name).toSorted()).toEqual(
      desiredStreams(topology)
        .map(({ name }) => name)
        .toSorted(),
    );
    const sizes = first.map((config) => z.object({ max_bytes: z.number().positive() }).parse(config).max_bytes);
    expect(sizes.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThanOrEqual(topology.storeBytes * 0.9);
    await once.streams();
    expect(await snapshot()).toEqual(first);
  });

  it("two at once make the same", async () => {
    const both = await Promise.all([provisioner(), provisioner(), provisioner()]);
    await Promise.all(both.map((one) => one.streams()));
    await Promise.all(both.map((one) => one.consumers(queuesOf(["a", "b"]))));
    expect(await snapshot()).toHaveLength(9);
  });

  it("drift that can be repaired is repaired, and messages stay", async () => {
    await (await provisioner()).streams();
    const jsm = await manager();
    await jsm.jetstream().publish("jobs.default.x", "kept");
    const { config } = await jsm.streams.info("JOBS");
    await jsm.streams.update("JOBS", { ...config, max_bytes: 1024 * 1024, metadata: {} });
    await (await provisioner({ historyMs: 2 * 86_400_000 })).streams();
    const jobs = await jsm.streams.info("JOBS");
    expect(jobs.config.max_bytes).toBe(Math.floor(topology.storeBytes * 0.25));
    expect(jobs.config.metadata).toMatchObject({ "millrace.dev/instance": "ns.rel" });
    expect(jobs.state.messages).toBe(1);
    expect((await jsm.streams.info("EVENTS")).config.max_age).toBe(2 * 86_400_000 * 1_000_000);
  });

  it.each([
    ["subjects", { subjects: ["jobs.>", "more.>"] }, 'subjects: wanted ["jobs.>"], found ["jobs.>","more.>"]'],
    ["retention", { retention: "limits" as const }, 'retention: wanted "workqueue", found "limits"'],
    ["storage", { storage: "memory" as const }, 'storage: wanted "file", found "memory"'],
  ])("drift of %s cannot be: the error names field, wanted and found", async (_field, drift, detail) => {
    const [jobs] = desiredStreams(topology);
    if (jobs === undefined) throw new Error("no streams");
    await (await manager()).streams.add({ ...jobs, ...drift });
    await expect((await provisioner()).streams()).rejects.toMatchObject({
      code: "STREAM_DRIFT",
      message: expect.stringContaining(`stream JOBS cannot be used: ${detail}`),
    });
  });

  it("consumers follow the configuration: slots are what the broker lets run", async () => {
    const provision = await provisioner();
    await provision.streams();
    await provision.consumers(queuesOf(["a"]));
    const config = queuesOf(["a"]);
    await provision.consumers({
      ...config,
      queues: { a: { ...config.queues["a"], slots: 7 } as (typeof config.queues)[string] },
    });
    const consumer = await (await manager()).consumers.info("JOBS", "queue-a");
    expect(consumer.config).toMatchObject({
      max_ack_pending: 7,
      filter_subject: "jobs.a.>",
      ack_wait: 30_000_000_000,
      max_deliver: -1,
      ack_policy: "explicit",
    });
    expect(consumer.config.backoff).toBeUndefined();
  });

  it("each queue has a consumer on JOBS and one on RETRY, and RETRY's share is never 0, which would mean 1000", async () => {
    const provision = await provisioner();
    await provision.streams();
    const config = queuesOf(["a", "b", "c"]);
    const { a, b, c } = config.queues;
    if (a === undefined || b === undefined || c === undefined) throw new Error("no queues");
    await provision.consumers({
      ...config,
      queues: { a: { ...a, slots: 1 }, b: { ...b, slots: 55 }, c: { ...c, slots: 50, retrySlots: 3 } },
    });
    const jsm = await manager();
    const slots = async (stream: string): Promise<Record<string, number | undefined>> => {
      const found: Record<string, number | undefined> = {};
      for await (const { config: made } of jsm.consumers.list(stream)) found[made.filter_subject ?? ""] = made.max_ack_pending;
      return found;
    };
    expect(await slots("JOBS")).toEqual({ "jobs.a.>": 1, "jobs.b.>": 55, "jobs.c.>": 50 });
    expect(await slots("RETRY")).toEqual({ "retry.run.a.>": 1, "retry.run.b.>": 5, "retry.run.c.>": 3 });
  });

  it("RETRY takes schedules, and no consumer's filter ever matches one that sleeps", async () => {
    const provision = await provisioner();
    await provision.streams();
    await provision.consumers(queuesOf(["at", "run"]));
    const jsm = await manager();
    expect((await jsm.streams.info("RETRY")).config).toMatchObject({ allow_msg_schedules: true, retention: "workqueue" });
    const target = "retry.run.at.x.1";
    const head = headers();
    head.set("Nats-Schedule", "@at 2099-01-01T00:00:00Z");
    head.set("Nats-Schedule-Target", target);
    await jsm.jetstream().publish("retry.at.x.1", "sleeps", { headers: head });
    for (const queue of ["at", "run"]) {
      expect((await jsm.consumers.info("RETRY", `queue-${queue}`)).num_pending).toBe(0);
    }
  });
});

describe("design §4.3: which servers will do", () => {
  it.each([
    ["2.12.9", false],
    ["2.12.10", true],
    ["2.13.9", false],
    ["2.14.1", false],
    ["2.14.2", true],
    ["2.15.2", true],
    ["2.15.0-dev", true],
    ["3.0.0", true],
    ["2.9.10", false],
    ["", false],
    ["abc", false],
  ])("%s: %s", (version, good) => {
    expect(isSupported(version)).toBe(good);
  });

  it("connects to a real one, and says what to do when there is none", async () => {
    const settings = z.object(natsEnv).parse({ NATS_URL: server.url });
    const connection = await connectNats({ settings, name: "test" });
    await connection.close();
    await expect(connectNats({ settings: { ...settings, NATS_URL: "nats://127.0.0.1:1" }, name: "test" })).rejects.toMatchObject({
      code: "NATS_UNREACHABLE",
    });
  });

  it("waits for a broker that starts later than the service", async () => {
    await using late = await NatsTestServer.start();
    await late.kill();
    const told: string[] = [];
    const settings = z.object(natsEnv).parse({ NATS_URL: late.url });
    const first = Promise.withResolvers<void>();
    const connecting = connectNats({
      settings,
      name: "test",
      onUnreachable: (problem) => {
        told.push(problem);
        first.resolve();
      },
    });
    await first.promise;
    await late.restart();
    await (await connecting).close();
    expect(told[0]).toContain(late.url);
  });
});
