import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { jobHash, messageHash } from "../../libs/contract/names.ts";
import { parseDispatchConfig } from "../../libs/kube/dispatch-config-source.ts";
import { jobManifest } from "../../libs/kube/job-manifest.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { INSTANCE, Workbench } from "../../libs/streams/testing/workbench.ts";
import { FakeCluster } from "../testing/fake-cluster.ts";
import { Observer } from "./observer.ts";
import { Reconciler } from "./reconciler.ts";
import { Sweeper } from "./sweeper.ts";
import { UnroutedMessages } from "./unrouted-messages.ts";
import { WorkQueue } from "./work-queue.ts";

const QUEUE = "default";
const config = parseDispatchConfig(JSON.stringify({ queues: { [QUEUE]: {} } }));

let server: NatsTestServer;
let bench: Workbench;
let cluster: FakeCluster;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: [QUEUE] });
});
afterAll(() => server[Symbol.asyncDispose]());
afterEach(() => cluster[Symbol.asyncDispose]());

/** The monitor's parts, put together as its main does. */
async function monitor() {
  const { jobs } = cluster;
  const { store } = bench;
  const queue = new WorkQueue({ handle: (uid) => reconciler.reconcile(uid), concurrency: 4, log: silentLog });
  const enqueue = (uid: string): void => queue.add(uid);
  const observer = new Observer({
    client: cluster.server.client,
    instance: INSTANCE,
    namespaces: ["jobs"],
    onJob: enqueue,
    log: silentLog,
  });
  const reconciler = new Reconciler({
    store,
    observer,
    jobs,
    config: () => config,
    metrics: new Metrics("test"),
    log: silentLog,
  });
  const unrouted = await UnroutedMessages.open({ connection: bench.connection, store, afterMs: 0, log: silentLog });
  const sweeper = new Sweeper({
    records: store.records,
    observer,
    reconciler,
    unrouted,
    enqueue,
    intervalMs: 20,
    log: silentLog,
  });
  const parts = [observer, queue, sweeper];
  return {
    sweeper,
    start: async () => {
      for (const part of parts) await part.start();
    },
    stop: async () => {
      for (const part of parts.toReversed()) await part.stop();
    },
  };
}
const stateOf = async (hash: string) => (await bench.store.records.get(hash))?.record.state;

describe("Sweeps", () => {
  it("J5: a record that runs without a Job becomes dead; one whose Job is there does not; a Job without a record gets one", async () => {
    cluster = await FakeCluster.start();
    const orphan = await bench.running(QUEUE, "orphan");
    const body = JSON.stringify({ id: "found", template: "hello" });
    await bench.publish(QUEUE, body);
    const delivered = await bench.one(QUEUE);
    const hash = jobHash(INSTANCE, QUEUE, "found");
    const queue = config.queues[QUEUE];
    if (queue === undefined) throw new Error("no queue");
    cluster.place(
      "jobs",
      jobManifest(
        {
          instance: INSTANCE,
          queue: QUEUE,
          type: "hello",
          id: "found",
          hash,
          attempt: 1,
          messageHash: messageHash(Buffer.from(body)),
          ack: delivered.ack,
          traceparent: undefined,
        },
        {
          namespace: "jobs",
          prefix: "hello",
          service: undefined,
          podSpec: { containers: [{ name: "main" }] },
          deadlineSeconds: 60,
          keepSeconds: undefined,
          attempts: undefined,
          params: {},
        },
        queue,
      ),
    );
    const running = await monitor();
    await running.start();
    await vi.waitFor(async () => expect(await stateOf(orphan.record.hash)).toBe("dead"), { timeout: 10_000 });
    await vi.waitFor(async () => expect(await stateOf(hash)).toBe("running"), { timeout: 10_000 });
    await vi.waitFor(async () => expect(await bench.holds(orphan.source)).toBe(false), { timeout: 10_000 });
    expect(await bench.holds(delivered.source)).toBe(true);
    expect(running.sweeper.heartbeat.problem()).toBeUndefined();
    await running.stop();
  });

  it("conclude nothing while the watch does not follow the cluster", async () => {
    cluster = await FakeCluster.start();
    const orphan = await bench.running(QUEUE, "unsure");
    const blind = await monitor();
    // The observer is never started, so nothing was seen yet; the sweep goes round all the same, as its other work shows.
    await blind.sweeper.start();
    const { seq } = await bench.client.publish("jobs.nobody.hello", "x");
    await vi.waitFor(async () => expect(await bench.manager.streams.getMessage("JOBS", { seq })).toBeNull(), { timeout: 10_000 });
    await bench.client.publish("jobs.nobody.hello", "y");
    await vi.waitFor(async () => expect(await bench.count("DLQ", "dlq.nobody.>")).toBe(2), { timeout: 10_000 });
    expect(await stateOf(orphan.record.hash)).toBe("running");
    await blind.sweeper.stop();
  });
});
