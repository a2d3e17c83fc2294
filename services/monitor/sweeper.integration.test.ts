import { headers } from "@nats-io/transport-node";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { STATE_HEADER } from "../../libs/contract/record.ts";
import { Heartbeat, WorkUnderWay } from "../../libs/runtime/health.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { INSTANCE } from "../../libs/streams/testing/workbench.ts";
import { isRunning, MonitorBench, terminated } from "../testing/monitor-bench.ts";
import { Observer } from "./observer.ts";
import { type Sweep, Sweeper } from "./sweeper.ts";
import { WorkQueue } from "./work-queue.ts";

let bench: MonitorBench;
beforeAll(async () => {
  bench = await MonitorBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(() => bench.reset());

const stateOf = async (hash: string) => (await bench.record(hash))?.state;
const until = (check: () => Promise<void>) => vi.waitFor(check, { timeout: 10_000 });

/** Something to sweep that only counts the rounds. */
class Rounds implements Sweep {
  done = 0;
  sweep(): Promise<void> {
    this.done += 1;
    return Promise.resolve();
  }
}

/** The monitor's parts with real watches, put together as its main does. */
function monitor(
  namespaces: readonly string[],
  others: readonly Sweep[] = [],
  { nowMs = () => performance.now(), intervalMs = 20 } = {},
) {
  const queue = new WorkQueue({
    handle: (uid) => reconciler.reconcile(uid),
    concurrency: 4,
    underWay: new WorkUnderWay("work-queue", { stallAfterMs: 60_000 }),
    metrics: new Metrics("test"),
    log: silentLog,
  });
  const enqueue = (uid: string): void => queue.add(uid);
  const { client } = bench.cluster.server;
  const onListed = (): void => sweeper.soon();
  const observer = new Observer({ client, instance: INSTANCE, namespaces, onJob: enqueue, onListed, nowMs, log: silentLog });
  const reconciler = bench.newReconciler({ observer });
  const heartbeat = new Heartbeat("sweep", { stallAfterMs: 60_000 });
  const metrics = new Metrics("monitor");
  const sweeper = new Sweeper({
    records: bench.streams.store.records,
    observer,
    reconciler,
    namespaces: bench.cluster.namespaces,
    others,
    enqueue,
    intervalMs,
    heartbeat,
    metrics,
    log: silentLog,
  });
  const parts = [observer, queue, sweeper];
  return {
    observer,
    sweeper,
    heartbeat,
    metrics,
    start: async () => {
      for (const part of parts) await part.start();
    },
    stop: async () => {
      for (const part of parts.toReversed()) await part.stop();
    },
  };
}

describe("Sweeps", () => {
  it("J5: a record that runs without a Job becomes dead; one whose Job is there does not; a Job without a record gets one", async () => {
    const orphan = await bench.running("orphan");
    bench.cluster.objects.clear();
    const found = await bench.made("found");
    const running = monitor(["jobs"]);
    await running.start();
    await until(async () => expect(await stateOf(orphan.hash)).toBe("dead"));
    await until(async () => expect(await stateOf(found.hash)).toBe("running"));
    await until(async () => expect(await bench.streams.holds(orphan.source)).toBe(false));
    expect(await bench.streams.holds(found.source)).toBe(true);
    expect(running.heartbeat.problem()).toBeUndefined();
    await running.stop();
  });

  it("conclude nothing while the watch does not follow the cluster", async () => {
    const orphan = await bench.running("unsure");
    bench.cluster.objects.clear();
    const rounds = new Rounds();
    const blind = monitor(["jobs"], [rounds]);
    // The observer is never started, so nothing was seen yet; the sweep goes round all the same.
    await blind.sweeper.start();
    await until(async () => expect(rounds.done).toBeGreaterThanOrEqual(3));
    expect(await stateOf(orphan.hash)).toBe("running");
    await blind.sweeper.stop();
  });

  it("conclude nothing while nothing was heard of the cluster for too long, though no watch has failed", async () => {
    const orphan = await bench.running("unheard");
    bench.cluster.objects.clear();
    const rounds = new Rounds();
    let clockMs = 0;
    const { observer, sweeper } = monitor(["jobs"], [rounds], { nowMs: () => clockMs });
    await observer.start();
    expect(observer.problemIn("jobs")).toBeUndefined();
    clockMs += 101_000;
    expect(observer.problemIn("jobs")).toContain("has said nothing for 101 s");
    await sweeper.start();
    await until(async () => expect(rounds.done).toBeGreaterThanOrEqual(3));
    expect(await stateOf(orphan.hash)).toBe("running");
    clockMs -= 101_000;
    await until(async () => expect(await stateOf(orphan.hash)).toBe("dead"));
    await sweeper.stop();
    await observer.stop();
  });

  it("J5: a forbidden namespace keeps neither the monitor from starting nor the others from being swept, and nothing in it is gone", async () => {
    const orphan = await bench.running("orphan");
    const secret = await bench.running("secret", { namespace: "secret" });
    bench.cluster.objects.clear();
    bench.cluster.forbidden.add("secret");
    const running = monitor(["secret", "jobs"]);
    await running.start();
    await until(async () => expect(await stateOf(orphan.hash)).toBe("dead"));
    expect(await stateOf(secret.hash)).toBe("running");
    bench.cluster.forbidden.clear();
    await running.stop();
  });

  it("after a gap of the watches, long before its time: nothing that could not be concluded meanwhile waits for it", async () => {
    const { hash } = await bench.running("unseen", { namespace: "secret" });
    bench.cluster.objects.clear();
    bench.cluster.forbidden.add("secret");
    const rounds = new Rounds();
    const running = monitor(["secret"], [rounds], { intervalMs: 3_600_000 });
    await running.start();
    await until(async () => expect(rounds.done).toBe(1));
    expect(await stateOf(hash)).toBe("running");
    bench.cluster.forbidden.clear();
    await until(async () => expect(await stateOf(hash)).toBe("dead"));
    await running.stop();
  });

  it("J5: with a namespace that was deleted its Jobs are gone, while no monitor watched too", async () => {
    const { hash, job } = await bench.running("gone", { namespace: "team" });
    bench.cluster.addPod(job, isRunning());
    bench.cluster.removeNamespace("team");
    const running = monitor(["team", "jobs"]);
    await running.start();
    await until(async () => expect(await stateOf(hash)).toBe("dead"));
    expect(await bench.record(hash)).toMatchObject({ attempts: [{ class: "deleted" }] });
    await running.stop();
    expect(await bench.streams.kept("default", hash)).toEqual(["dlq 1", "event 1.created", "event 1.dead"]);
  });

  it("A15: a Job that came, succeeded and went while nobody led is settled by what was seen of it", async () => {
    const { job, hash, source } = await bench.made("brief");
    bench.cluster.end(job, "Complete", terminated(0, { message: "42" }));
    bench.remove(job);
    await bench.sweep();
    expect(await bench.record(hash)).toMatchObject({ state: "succeeded", result: "42" });
    expect(await bench.streams.holds(source)).toBe(false);
  });

  it("one that fails keeps none of the others from being done", async () => {
    const rounds = new Rounds();
    const failing = { sweep: () => Promise.reject(new Error("broken")) };
    const { sweeper, metrics } = monitor(["jobs"], [failing, rounds]);
    await sweeper.start();
    await until(async () => expect(rounds.done).toBeGreaterThanOrEqual(2));
    await sweeper.stop();
    // What it would have measured is old, and that shows.
    expect((await metrics.sweepFailures.get()).values[0]?.value).toBeGreaterThanOrEqual(2);
  });

  it("a record that cannot be read keeps none of the others from being looked at", async () => {
    const first = await bench.running("first");
    const second = await bench.running("second");
    const { revision } = (await bench.streams.store.records.get(first.hash)) ?? { revision: 0 };
    const head = headers();
    head.set(STATE_HEADER, "running");
    await bench.streams.client.publish(`$KV.millrace_jobs.${first.hash}`, JSON.stringify({ state: "running" }), {
      headers: head,
      expect: { lastSubjectSequence: revision },
    });
    bench.cluster.objects.clear();
    for (const { uid } of [first, second]) bench.observer.forget(uid);
    await bench.sweep();
    expect(await stateOf(second.hash)).toBe("dead");
  });
});
