import { headers } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { jobHash } from "../contract/names.ts";
import { type JobRecord, jobRecord } from "../contract/record.ts";
import { BUCKET, bucketSubject } from "../contract/streams.ts";
import { recordIn } from "../contract/testing/records.ts";
import { RecordStore } from "./records.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
import { Workbench } from "./testing/workbench.ts";

const unreadable = (hash: string): never => {
  throw new Error(`the record ${hash} cannot be read`);
};

let server: NatsTestServer;
let bench: Workbench;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: ["default"] });
});
afterAll(() => server[Symbol.asyncDispose]());

const named = (id: string, rest: Partial<JobRecord> = {}): JobRecord =>
  recordIn(rest.state ?? "running", { id, hash: jobHash("ns.rel", "q", id), ...rest });
const key = (hash: string): string => `$KV.millrace_jobs.${hash}`;

describe("the record is moved by compare-and-swap only", () => {
  it("I1: of any number of writers at one revision exactly one wins", async () => {
    const record = named("race");
    const first = await Promise.all(Array.from({ length: 20 }, () => bench.store.records.swap(record, 0)));
    expect(first.filter(({ kind }) => kind === "won")).toHaveLength(1);
    const stored = await bench.store.records.get(record.hash);
    const second = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        bench.store.records.swap({ ...record, type: String(index) }, stored?.revision ?? 0),
      ),
    );
    const winner = second.findIndex(({ kind }) => kind === "won");
    expect(second.filter(({ kind }) => kind === "won")).toHaveLength(1);
    expect(await bench.store.records.get(record.hash)).toMatchObject({ record: { type: String(winner) } });
  });

  it("a swap at an old revision, or at none where there is one, loses", async () => {
    const record = named("old");
    const won = await bench.store.records.swap(record, 0);
    const revision = won.kind === "won" ? won.revision : 0;
    expect(await bench.store.records.swap(record, 0)).toEqual({ kind: "lost" });
    expect((await bench.store.records.swap(record, revision)).kind).toBe("won");
    expect(await bench.store.records.swap(record, revision)).toEqual({ kind: "lost" });
  });

  it("what is written is what is read", async () => {
    const record = named("same", { reason: "größer", type: "a.b" });
    await bench.store.records.swap(record, 0);
    expect((await bench.store.records.get(record.hash))?.record).toEqual(record);
    expect((await bench.store.records.getMany([record.hash], unreadable)).get(record.hash)?.record).toEqual(record);
  });
});

describe("D2: many records in few reads", () => {
  it.each([
    ["as large as records get", ""],
    ["so large that the server cuts its answers", "t".repeat(20_000)],
  ])("is complete for 300 of them, %s", async (what, type) => {
    const attempts = Array.from({ length: 10 }, (_, index) => ({ n: index + 1, uid: "u".repeat(400), reason: "r".repeat(300) }));
    const records = Array.from({ length: 300 }, (_, index) => named(`${what}-${index}`, { attempts, type }));
    expect(jobRecord.parse(records[0])).toEqual(records[0]);
    await Promise.all(records.map((record) => bench.store.records.swap(record, 0)));
    const unknown = Array.from({ length: 40 }, (_, index) => jobHash("ns.rel", "q", `unknown-${index}`));
    const found = await bench.store.records.getMany([...records.map(({ hash }) => hash), ...unknown], unreadable);
    expect([...found.keys()].toSorted()).toEqual(records.map(({ hash }) => hash).toSorted());
  });

  it("is empty where there are none, one, many, or no question", async () => {
    const hashes = Array.from({ length: 3 }, (_, index) => jobHash("ns.rel", "q", `none-${index}`));
    expect((await bench.store.records.getMany([], unreadable)).size).toBe(0);
    expect((await bench.store.records.getMany(hashes.slice(0, 1), unreadable)).size).toBe(0);
    expect((await bench.store.records.getMany(hashes, unreadable)).size).toBe(0);
    expect(await bench.store.records.get(hashes[0] ?? "")).toBeUndefined();
  });

  it("a key asked for twice is found once", async () => {
    const record = named("twice");
    await bench.store.records.swap(record, 0);
    expect((await bench.store.records.getMany([record.hash, record.hash], unreadable)).size).toBe(1);
  });

  it("leaves no subscription behind at the broker", async () => {
    const connections = z.object({ connections: z.array(z.object({ subscriptions: z.number() })) });
    const subscriptions = async (): Promise<number> => {
      const answer = connections.parse(await (await fetch(`${server.monitorUrl}/connz?subs=1`)).json());
      return answer.connections.reduce((sum, connection) => sum + connection.subscriptions, 0);
    };
    await bench.store.records.getMany(["a".repeat(20), "b".repeat(20)], unreadable);
    await bench.connection.flush();
    const before = await subscriptions();
    for (let read = 0; read < 30; read += 1) await bench.store.records.getMany(["a".repeat(20), "b".repeat(20)], unreadable);
    await bench.connection.flush();
    expect(await subscriptions()).toBe(before);
  });

  it.each([
    ["an empty body", {}],
    ["a KV delete marker", { "KV-Operation": "DEL" }],
    ["a KV purge marker", { "KV-Operation": "PURGE" }],
  ])("%s is no record, and a new one may follow it", async (what, head) => {
    const record = named(what);
    await bench.store.records.swap(record, 0);
    const given = headers();
    for (const [name, value] of Object.entries(head)) given.set(name, value);
    const { seq } = await bench.client.publish(key(record.hash), "", { headers: given });
    expect(await bench.store.records.get(record.hash)).toBeUndefined();
    expect((await bench.store.records.getMany([record.hash], unreadable)).size).toBe(0);
    expect((await bench.store.records.getMany([record.hash, "x".repeat(20)], unreadable)).size).toBe(0);
    expect((await bench.store.records.swap(record, seq)).kind).toBe("won");
  });
});

describe("Sweeps: the records in one state", () => {
  it("are found by their header, each once, by their newest state", async () => {
    await bench.manager.streams.purge("KV_millrace_jobs");
    const never = new AbortController().signal;
    expect(await bench.store.records.inState("running", never)).toEqual([]);
    const running = Array.from({ length: 30 }, (_, index) => named(`run-${index}`));
    const moved = named("moved");
    await Promise.all([...running, moved].map((record) => bench.store.records.swap(record, 0)));
    const stored = await bench.store.records.get(moved.hash);
    await bench.store.records.swap({ ...moved, state: "dead" }, stored?.revision ?? 0);
    expect((await bench.store.records.inState("running", never)).toSorted()).toEqual(running.map(({ hash }) => hash).toSorted());
    expect(await bench.store.records.inState("dead", never)).toEqual([moved.hash]);
    expect(await bench.store.records.inState("cancelled", never)).toEqual([]);
    const consumers = await bench.manager.consumers.list("KV_millrace_jobs").next();
    expect(consumers).toEqual([]);
  });

  it("a read whose records expired before they came ends all the same", async () => {
    await bench.store.records.swap(named("expired"), 0);
    const racing = await RecordStore.open(await server.connect());
    const reading = racing.inState("running", new AbortController().signal);
    await bench.manager.streams.purge("KV_millrace_jobs");
    expect((await reading).length).toBeLessThanOrEqual(31);
  });
});

it("a record that cannot be read is told, and keeps no other from being read", async () => {
  const { record } = await bench.running("default", "readable");
  const broken = "b".repeat(20);
  await bench.client.publish(bucketSubject(BUCKET.records, broken), "{}");
  const told: string[] = [];
  const found = await bench.store.records.getMany([record.hash, broken], (hash) => told.push(hash));
  expect([[...found.keys()], told]).toEqual([[record.hash], [broken]]);
  await expect(bench.store.records.get(broken)).rejects.toThrow(expect.objectContaining({ code: "RECORD_UNREADABLE" }));
});

it("what a newer version wrote into a record is read over", async () => {
  const { record } = await bench.running("default", "newer");
  const stored = await bench.store.records.get(record.hash);
  await bench.client.publish(bucketSubject(BUCKET.records, record.hash), JSON.stringify({ ...record, novelty: 1 }));
  expect(stored?.record).toEqual((await bench.store.records.get(record.hash))?.record);
});
