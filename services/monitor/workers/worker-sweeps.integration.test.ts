import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../../../libs/contract/dead-letter.ts";
import { UNCONFIGURED_QUEUE } from "../../../libs/runtime/metrics.ts";
import { NatsTestServer } from "../../../libs/streams/testing/nats-server.ts";
import { queuesOf, Workbench } from "../../../libs/streams/testing/workbench.ts";
import { FakeWorkers, holderOf, SUBJECT, WORKER, WorkerCluster, WorkerMonitor } from "../../testing/worker-bench.ts";

const PATIENCE_MS = 600_000;
const CONFIGURED = { [WORKER]: { subject: SUBJECT } };

let server: NatsTestServer;
let streams: Workbench;
let workers: FakeWorkers;
let cluster: WorkerCluster;
let monitor: WorkerMonitor;

beforeAll(async () => {
  server = await NatsTestServer.start();
  streams = await Workbench.open(server, { queues: [], workers: CONFIGURED, ackWaitMs: 3_600_000 });
  workers = new FakeWorkers(streams);
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(async () => {
  for (const stream of ["WORK", "WORK_RETRY", "DLQ", "KV_millrace_claims"]) await streams.manager.streams.purge(stream);
  for (const stream of ["WORK", "WORK_RETRY"]) {
    for (const name of await consumers(stream)) await streams.manager.consumers.delete(stream, name);
  }
  await provisioned(CONFIGURED);
  cluster = await WorkerCluster.start();
  monitor = await new WorkerMonitor({ cluster, streams }).lead();
});
afterEach(async () => {
  await monitor[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
});

type Workers = Readonly<Record<string, { readonly subject: string }>>;
const provisioned = (config: Workers) => streams.provisioner.consumers(queuesOf([], config));
async function configured(config: Workers): Promise<void> {
  monitor.configure(config);
  await provisioned(config);
}
const consumers = async (stream: string): Promise<string[]> => {
  const names: string[] = [];
  for await (const { name } of streams.manager.consumers.list(stream)) names.push(name);
  return names.toSorted();
};
const counts = (stream: string) => streams.counts(stream, ">");
const subjects = async () => (await streams.manager.streams.info("WORK")).config.subjects;
async function afterPatience(): Promise<void> {
  await monitor.sweep();
  monitor.waitedMs += PATIENCE_MS;
  await monitor.sweep();
}

describe("a worker that is not configured any more", () => {
  it("what waits for it goes to the DLQ after its time; then its consumers and its subject go", async () => {
    await workers.publish('{"r2_key": "a"}');
    await streams.client.publish(`work.run.${WORKER}.abc.2`, "due");
    await configured({});
    await monitor.sweep();
    expect(await counts("WORK")).toEqual({ [SUBJECT]: 1 });
    await afterPatience();
    expect(await counts("WORK")).toEqual({});
    expect(await counts("WORK_RETRY")).toEqual({});
    const entries = Object.keys(await counts("DLQ")).toSorted();
    expect(entries).toEqual([
      expect.stringMatching(/^dlq\.work\._\.WORK-/),
      expect.stringMatching(/^dlq\.work\.resize\.WORK_RETRY-/),
    ]);
    const entry = await streams.manager.streams.getMessage("DLQ", { last_by_subj: entries[0] ?? "" });
    expect(entry?.header.get(DLQ_HEADER.code)).toBe("UNKNOWN_QUEUE");
    expect(entry?.header.get(DLQ_HEADER.subject)).toContain(SUBJECT);
    expect(entry?.string()).toBe('{"r2_key": "a"}');
    const { values } = await monitor.metrics.messagesFailed.get();
    expect(values).toMatchObject([{ labels: { queue: UNCONFIGURED_QUEUE }, value: 2 }]);
    await monitor.sweep();
    expect([await consumers("WORK"), await consumers("WORK_RETRY")]).toEqual([[], []]);
    await provisioned({});
    expect(await subjects()).toEqual(["work.fresh.>"]);
  });

  it("what its last pod still works on is left alone", async () => {
    await workers.publish();
    const held = await workers.take(holderOf("a"));
    await configured({});
    await afterPatience();
    await monitor.sweep();
    expect(await counts("WORK")).toEqual({ [SUBJECT]: 1 });
    expect(await workers.claim(held.key)).toEqual(held.claim);
    expect(await consumers("WORK")).toEqual(["worker-resize"]);
  });

  it("and comes back in time gets what waited", async () => {
    await workers.publish();
    await configured({});
    await monitor.sweep();
    await configured(CONFIGURED);
    await afterPatience();
    expect(await counts("DLQ")).toEqual({});
    await workers.take(holderOf("a"));
  });
});

describe("a worker that is renamed", () => {
  const RENAMED = { smaller: { subject: SUBJECT } };

  it("takes over what waits as soon as nobody works under the old name", async () => {
    await workers.publish();
    const held = await workers.take(holderOf("a"));
    await workers.publish();
    monitor.configure(RENAMED);
    // The broker refuses a second consumer for the same subject.
    await expect(provisioned(RENAMED)).rejects.toThrow(/not unique|overlap/);
    await monitor.sweep();
    expect(await consumers("WORK")).toEqual(["worker-resize"]);
    const { revision } = held;
    const { holder: _, ...released } = held.claim;
    await workers.claims.swap(held.key, released, revision);
    await expect.poll(() => monitor.sweep().then(() => consumers("WORK"))).toEqual([]);
    await provisioned(RENAMED);
    expect(await consumers("WORK")).toEqual(["worker-smaller"]);
    expect((await streams.manager.consumers.info("WORK", "worker-smaller")).num_pending).toBe(2);
  });

  it("keeps no other worker and no queue from being provisioned", async () => {
    const both = { ...RENAMED, zoom: { subject: "zoom" } };
    await expect(provisioned(both)).rejects.toThrow();
    expect(await consumers("WORK")).toEqual(["worker-resize", "worker-zoom"]);
  });
});

it("a worker whose subject becomes narrower or wider is provisioned though messages of the old one wait", async () => {
  await provisioned({ [WORKER]: { subject: "images.>" } });
  await streams.client.publish("images.other", "{}");
  await configured({ [WORKER]: { subject: "images.small" } });
  expect(await subjects()).toEqual(["work.fresh.>", "images.small"]);
  await afterPatience();
  expect(await counts("WORK")).toEqual({});
  expect(Object.keys(await counts("DLQ"))).toHaveLength(1);
  await configured({ [WORKER]: { subject: "images.>" } });
  expect(await subjects()).toEqual(["work.fresh.>", "images.>"]);
});

describe("gauges of workers", () => {
  const read = async () => {
    await monitor.sweep();
    const { values } = await monitor.metrics.workerMessages.get();
    return Object.fromEntries(values.map(({ labels, value }) => [labels.state, value]));
  };

  it("what waits, is held and sleeps, on both streams, and for how long", async () => {
    expect(await read()).toEqual({ waiting: 0, held: 0, sleeping: 0 });
    for (let count = 0; count < 3; count += 1) await workers.publish();
    await workers.take(holderOf("a"));
    await streams.client.publish(`work.run.${WORKER}.abc.2`, "due");
    for (const attempt of [1, 2]) await streams.client.publish(`work.at.${WORKER}.def.${attempt}`, "asleep");
    await streams.client.publish("work.at.other.def.1", "asleep");
    expect(await read()).toEqual({ waiting: 3, held: 1, sleeping: 2 });
    const { values } = await monitor.metrics.workerOldestWaiting.get();
    expect(values).toMatchObject([{ labels: { worker: WORKER }, value: expect.any(Number) }]);
    expect(values[0]?.value).toBeGreaterThan(0);
  });

  it("its entries in the DLQ", async () => {
    for (const seq of [1, 2]) await streams.client.publish(`dlq.work.${WORKER}.WORK-${seq}-1`, "");
    await streams.client.publish("dlq.work.other.WORK-1-1", "");
    await monitor.sweep();
    const { values } = await monitor.metrics.workerDeadLetters.get();
    expect(values).toMatchObject([{ labels: { worker: WORKER }, value: 2 }]);
  });
});
