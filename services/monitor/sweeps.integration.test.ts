import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { jobHash } from "../../libs/contract/names.ts";
import { consumerName } from "../../libs/contract/streams.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics, UNCONFIGURED_QUEUE } from "../../libs/runtime/metrics.ts";
import { JetStreamBroker } from "../../libs/streams/jetstream-broker.ts";
import { RecordStore } from "../../libs/streams/records.ts";
import { INSTANCE, queuesOf } from "../../libs/streams/testing/workbench.ts";
import { type Made, MonitorBench, QUEUE, terminated } from "../testing/monitor-bench.ts";
import { MissingOutcome } from "./missing-outcome.ts";
import { Patience } from "./patience.ts";
import { RemovedQueues } from "./removed-queues.ts";
import { SleepingRecords } from "./sleeping-records.ts";
import { UnroutedMessages } from "./unrouted-messages.ts";

const PATIENCE_MS = 600_000;
const { signal } = new AbortController();

let bench: MonitorBench;
let patience: Patience;
let metrics: Metrics;
/** How long somebody has had patience. */
let waitedMs: number;
let sweeps: readonly { sweep(signal: AbortSignal, beat: () => void): Promise<void> }[];
beforeAll(async () => {
  bench = await MonitorBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(async () => {
  await bench.reset();
  bench.configure({ retry: { attempts: 3, backoff: { initial: "0s" } } });
  await bench.streams.provisioner.consumers(queuesOf([QUEUE]));
  waitedMs = 0;
  metrics = new Metrics("monitor");
  patience = new Patience({ afterMs: PATIENCE_MS, nowMs: () => waitedMs });
  sweeps = await newSweeps();
});

async function newSweeps() {
  const { connection, store } = bench.streams;
  const broker = await JetStreamBroker.open(connection);
  const queues = () => bench.config.queues;
  const options = { connection, broker, instance: INSTANCE, store, queues, patience, metrics, log: silentLog };
  const { nowMs } = bench;
  return [
    await UnroutedMessages.open(options),
    new SleepingRecords({ ...options, missing: new MissingOutcome({ store, nowMs }), nowMs }),
    await RemovedQueues.open(options),
  ];
}
async function sweep(): Promise<void> {
  for (const each of sweeps) await each.sweep(signal, () => {});
}
const removeQueue = (): void => {
  bench.config = { ...bench.config, queues: {} };
};
const codes = async (): Promise<(string | undefined)[]> => {
  const subjects = Object.keys(await bench.streams.counts("DLQ", ">"));
  const entries = subjects.map((last_by_subj) => bench.streams.manager.streams.getMessage("DLQ", { last_by_subj }));
  return (await Promise.all(entries)).map((entry) => entry?.header.get(DLQ_HEADER.code) ?? "").toSorted();
};
const count = (stream: string) => bench.streams.count(stream, ">");
/** Its first attempt failed; the retry is due in RETRY. */
async function awaited(id: string): Promise<Made> {
  const made = await bench.running(id);
  bench.cluster.end(made.job, "Failed", terminated(3));
  await bench.reconciler.reconcile(made.uid);
  return made;
}
/** A message that sleeps until it may start. */
async function asleep(id: string): Promise<string> {
  const { ack, source } = await bench.publish(id);
  const hash = jobHash(INSTANCE, QUEUE, id);
  const at = new Date().toISOString();
  const attempt = { id, hash, queue: QUEUE, type: "hello", messageHash: "m", source, attempt: 1, life: 1, memory: undefined };
  const notBefore = new Date(Date.now() + 3_600_000).toISOString();
  await bench.streams.store.settler.settle(hash, { kind: "delayed", ...attempt, notBefore, why: "runAt", refused: 0, at }, ack);
  return hash;
}

describe("S2: a retry that should be in RETRY and is not", () => {
  it("is published again when it is overdue, once", async () => {
    const { hash } = await awaited("lost");
    await bench.streams.manager.streams.purge("RETRY");
    await sweep();
    expect(await count("RETRY")).toBe(0);
    bench.aheadMs = 11_000;
    await sweep();
    await sweep();
    expect(await bench.streams.kept(QUEUE, hash)).toContain("due 2");
    expect(await count("RETRY")).toBe(1);
    expect(await bench.record(hash)).toMatchObject({ state: "retrying" });
  });

  it("is looked for only when it is overdue: however many sleep on, they are not read one by one", async () => {
    await asleep("one");
    await asleep("two");
    const { hash } = await awaited("overdue");
    const { store, connection } = bench.streams;
    const { nowMs } = bench;
    const read: string[] = [];
    class Counted extends RecordStore {
      override get(hash: string) {
        read.push(hash);
        return super.get(hash);
      }
    }
    const records = new Counted({ broker: await JetStreamBroker.open(connection) });
    bench.aheadMs = 11_000;
    const options = {
      missing: new MissingOutcome({ store, nowMs }),
      queues: () => bench.config.queues,
      patience,
      nowMs,
      metrics,
    };
    await new SleepingRecords({ ...options, store: { ...store, records }, log: silentLog }).sweep(signal, () => {});
    expect(read).toEqual([hash]);
  });

  it("of a paused queue it waits there: three sweeps later RETRY has not grown", async () => {
    const { hash } = await awaited("paused");
    await asleep("later");
    bench.aheadMs = 7_200_000;
    // Its bytes are nowhere else.
    await bench.streams.manager.streams.purge("EVENTS");
    const { last_seq } = (await bench.streams.manager.streams.info("RETRY")).state;
    for (let times = 0; times < 3; times += 1) await sweep();
    expect((await bench.streams.manager.streams.info("RETRY")).state).toMatchObject({ messages: 2, last_seq });
    expect(await bench.record(hash)).toMatchObject({ state: "retrying" });
  });

  it("S1: and whose bytes are nowhere: dead, which its entry says", async () => {
    const { hash } = await awaited("lost");
    for (const stream of ["RETRY", "EVENTS"]) await bench.streams.manager.streams.purge(stream);
    bench.aheadMs = 11_000;
    await sweep();
    expect(await bench.record(hash)).toMatchObject({ state: "dead", reason: expect.stringContaining("bytes-lost") });
    expect(await bench.streams.kept(QUEUE, hash)).toContain("dlq 2");
  });

  it("one record that cannot be healed keeps none of the others from it", async () => {
    const all = [await awaited("one"), await awaited("two"), await awaited("three")];
    await bench.streams.manager.streams.purge("RETRY");
    bench.aheadMs = 11_000;
    const [poison] = all;
    const { store } = bench.streams;
    const { nowMs } = bench;
    const records = {
      ...store.records,
      inState: store.records.inState.bind(store.records),
      getMany: store.records.getMany.bind(store.records),
      get: (hash: string) => (hash === poison?.hash ? Promise.reject(new Error("unreadable")) : store.records.get(hash)),
    };
    const missing = new MissingOutcome({ store, nowMs });
    const options = { missing, queues: () => bench.config.queues, patience, nowMs, metrics, log: silentLog };
    await new SleepingRecords({
      ...options,
      store: { ...store, records: Object.assign(Object.create(store.records), records) },
    }).sweep(signal, () => {});
    expect(await count("RETRY")).toBe(2);
  });
});

describe("a queue that is removed", () => {
  it("what waits, sleeps and is due goes to the DLQ, its time counted from when that was seen; then its consumers go", async () => {
    await bench.streams.publish(QUEUE, JSON.stringify({ id: "waiting", template: "hello" }));
    const sleeping = await asleep("sleeping");
    const { hash: due } = await awaited("due");
    await bench.streams.one(QUEUE).then(({ message }) => message.nak());
    waitedMs = 10 * PATIENCE_MS;
    removeQueue();
    await sweep();
    waitedMs += PATIENCE_MS - 1;
    await sweep();
    expect([await count("DLQ"), await count("JOBS"), await count("RETRY")]).toEqual([0, 1, 2]);
    waitedMs += 1;
    await sweep();
    expect([await count("DLQ"), await count("JOBS"), await count("RETRY")]).toEqual([3, 0, 0]);
    for (const hash of [sleeping, due]) {
      expect(await bench.record(hash)).toMatchObject({ state: "dead", reason: expect.stringContaining("UNKNOWN_QUEUE") });
    }
    expect((await codes()).filter((code) => code === "UNKNOWN_QUEUE")).toHaveLength(1);
    await sweep();
    for (const stream of ["JOBS", "RETRY"]) {
      await expect(bench.streams.manager.consumers.info(stream, consumerName(QUEUE))).rejects.toThrow(/not found/);
    }
    expect(await count("DLQ")).toBe(3);
  });

  it("I3: running Jobs keep their messages and their consumers until they have ended", async () => {
    const first = await bench.running("first");
    await awaited("second");
    const second = await bench.made("second", { attempt: 2, of: await bench.due() });
    await bench.reconciler.reconcile(second.uid);
    removeQueue();
    await sweep();
    waitedMs = 2 * PATIENCE_MS;
    await sweep();
    for (const { source, hash } of [first, second]) {
      expect(await bench.streams.holds(source)).toBe(true);
      expect(await bench.record(hash)).toMatchObject({ state: "running" });
    }
    expect(await count("DLQ")).toBe(0);
    for (const stream of ["JOBS", "RETRY"]) await bench.streams.manager.consumers.info(stream, consumerName(QUEUE));
    bench.cluster.end(first.job, "Complete", terminated(0));
    bench.cluster.end(second.job, "Failed", terminated(3));
    for (const { uid } of [first, second]) await bench.reconciler.reconcile(uid);
    expect([await count("DLQ"), await count("JOBS"), await count("RETRY")]).toEqual([1, 0, 0]);
  });

  it("and comes back, and is removed again, has its whole time again", async () => {
    const { hash } = await awaited("due");
    const { queues } = bench.config;
    removeQueue();
    await sweep();
    waitedMs += PATIENCE_MS - 1;
    bench.config = { ...bench.config, queues };
    await sweep();
    removeQueue();
    waitedMs += PATIENCE_MS;
    await sweep();
    expect(await bench.record(hash)).toMatchObject({ state: "retrying" });
    await bench.streams.manager.consumers.info("RETRY", consumerName(QUEUE));
  });

  it("that had nothing but consumers, too", async () => {
    const { queues } = bench.config;
    removeQueue();
    await sweep();
    bench.config = { ...bench.config, queues };
    waitedMs += PATIENCE_MS;
    await sweep();
    removeQueue();
    await sweep();
    await bench.streams.manager.consumers.info("JOBS", consumerName(QUEUE));
  });

  it("D6: a due retry that no record awaits: an ended job's goes after its effects were repeated, a foreign one to the DLQ", async () => {
    const { hash } = await awaited("over");
    const stored = await bench.streams.store.records.get(hash);
    if (stored === undefined) throw new Error("no record");
    const { next: _next, ...over } = stored.record;
    await bench.streams.store.records.swap({ ...over, state: "succeeded", attempt: 2 }, stored.revision);
    await bench.streams.client.publish(`retry.run.${QUEUE}.${"a".repeat(20)}.1`, "foreign");
    removeQueue();
    await sweep();
    waitedMs += PATIENCE_MS;
    await sweep();
    expect(await count("RETRY")).toBe(0);
    expect(await bench.streams.kept(QUEUE, hash)).toContain("event 2.succeeded");
    expect(await codes()).toEqual(["UNKNOWN_QUEUE"]);
  });
});

describe("a subject that no queue takes", () => {
  it("is dead-lettered after its time, by two monitors once, and what a queue takes is left alone", async () => {
    const routed = await bench.made("routed");
    await bench.streams.client.publish("jobs.default", "no type");
    await bench.streams.client.publish("jobs.nobody.hello", "no queue");
    await sweep();
    waitedMs += PATIENCE_MS - 1;
    await sweep();
    expect(await count("DLQ")).toBe(0);
    waitedMs += 1;
    const other = await newSweeps();
    await Promise.all([sweep(), ...other.map((each) => each.sweep(signal, () => {}))]);
    expect(await bench.streams.count("DLQ", "dlq.nobody.hello.>")).toBe(1);
    expect(await bench.streams.count("DLQ", "dlq.default._.>")).toBe(1);
    expect(await count("JOBS")).toBe(1);
    expect(await bench.streams.holds(routed.source)).toBe(true);
  });

  it("what comes after that has its own time", async () => {
    await bench.streams.client.publish("jobs.nobody.hello", "first");
    await sweep();
    waitedMs += PATIENCE_MS;
    await sweep();
    await bench.streams.client.publish("jobs.nobody.hello", "second");
    await sweep();
    expect([await count("DLQ"), await count("JOBS")]).toEqual([1, 1]);
  });

  it("whose messages went on their own gives the next one its own time", async () => {
    await bench.streams.client.publish("jobs.nobody.hello", "first");
    await sweep();
    await bench.streams.manager.streams.purge("JOBS");
    waitedMs += PATIENCE_MS;
    await sweep();
    await bench.streams.client.publish("jobs.nobody.hello", "second");
    await sweep();
    expect([await count("DLQ"), await count("JOBS")]).toEqual([0, 1]);
  });

  it("D6: a message whose job ended is acknowledged by its record, and is no dead letter", async () => {
    const made = await bench.running("over");
    const stored = await bench.streams.store.records.get(made.hash);
    if (stored === undefined) throw new Error("no record");
    await bench.streams.store.records.swap({ ...stored.record, state: "succeeded" }, stored.revision);
    removeQueue();
    await sweep();
    waitedMs += PATIENCE_MS;
    await sweep();
    expect(await bench.streams.holds(made.source)).toBe(false);
    expect(await bench.events(made.hash)).toEqual({ created: 1, succeeded: 1 });
    expect(await count("DLQ")).toBe(0);
  });
});

it("a sweep that has thousands to clear says after each that it goes on: it is not taken for one that stands still", async () => {
  for (const id of ["a", "b", "c"]) {
    await bench.streams.client.publish("jobs.nobody.hello", id);
    await bench.streams.client.publish(`retry.run.gone.${id.repeat(20)}.1`, "foreign");
  }
  await sweep();
  waitedMs += PATIENCE_MS;
  const beat = vi.fn();
  for (const each of sweeps) await each.sweep(signal, beat);
  expect(await count("DLQ")).toBe(6);
  expect(beat).toHaveBeenCalledTimes(6);
});

it("messages_failed_total: whatever a sweep puts into the DLQ, once", async () => {
  await asleep("sleeping");
  await awaited("due");
  await bench.streams.publish(QUEUE, JSON.stringify({ id: "waiting", template: "hello" }));
  await bench.streams.client.publish(`retry.run.gone.${"a".repeat(20)}.1`, "foreign");
  await bench.streams.client.publish(`jobs.${QUEUE}`, "no type");
  removeQueue();
  for (let round = 0; round < 3; round += 1) {
    await sweep();
    waitedMs += PATIENCE_MS;
  }
  expect(await count("DLQ")).toBe(5);
  const { values } = await metrics.messagesFailed.get();
  expect(values.map(({ labels, value }) => [labels.queue, value])).toEqual([[UNCONFIGURED_QUEUE, 5]]);
});

it("millrace_sleeping_retries: what sleeps, of every configured queue; what is due, running or done does not", async () => {
  const gauge = async () => (await metrics.sleepingRetries.get()).values.map(({ labels, value }) => [labels.queue, value]);
  await asleep("first");
  await asleep("second");
  await awaited("due");
  await bench.running("runs");
  bench.config = { ...bench.config, queues: { ...bench.config.queues, ...queuesOf(["empty"]).queues } };
  await sweep();
  expect(await gauge()).toEqual([
    [QUEUE, 2],
    ["empty", 0],
  ]);
  removeQueue();
  await sweep();
  expect(await gauge()).toEqual([[UNCONFIGURED_QUEUE, 2]]);
});
