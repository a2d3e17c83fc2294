import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ANNOTATION, LABEL } from "../../libs/contract/names.ts";
import { jobViewOf } from "../../libs/contract/testing/records.ts";
import { Heartbeat } from "../../libs/runtime/health.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics, UNCONFIGURED_QUEUE } from "../../libs/runtime/metrics.ts";
import { LeaseKeeper, sliceOf } from "./lease-keeper.ts";
import { isRouted } from "./unrouted-messages.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("L1: the lease of every live Job", () => {
  const jobs = Array.from({ length: 2_000 }, (_, index) =>
    jobViewOf({ uid: randomUUID(), annotations: { [ANNOTATION.ack]: `ack-${index}` } }),
  );

  it.each([120_000, 30_000, 1_000])(
    "is renewed exactly once in each third of an ack_wait of %d ms, spread over it",
    async (ackWaitMs) => {
      const renewed: string[] = [];
      const keeper = new LeaseKeeper({
        liveJobs: () => jobs,
        queues: () => ({}),
        messages: { renew: (ack) => void renewed.push(ack) },
        ackWaitMs,
        heartbeat: new Heartbeat("lease-keeper", { stallAfterMs: 60_000 }),
        metrics: new Metrics("test"),
        log: silentLog,
      });
      await keeper.start();
      await keeper.start();
      const ticks = Math.max(1, Math.floor(ackWaitMs / 3 / 500));
      let largest = 0;
      for (let round = 0; round < 2; round += 1) {
        renewed.length = 0;
        for (let tick = 0; tick < ticks; tick += 1) {
          const before = renewed.length;
          vi.advanceTimersByTime(500);
          largest = Math.max(largest, renewed.length - before);
        }
        expect(renewed.toSorted()).toEqual(jobs.map(({ annotations }) => annotations[ANNOTATION.ack]).toSorted());
      }
      if (ticks > 1) expect(largest).toBeLessThan(jobs.length / 2);
      await keeper.stop();
      expect(vi.getTimerCount()).toBe(0);
    },
  );

  it("a keeper that turns is alive, with nothing to renew too; one that always fails stalls, and goes on when it can", async () => {
    let live = () => jobs.slice(0, 0);
    const heartbeat = new Heartbeat("lease-keeper", { stallAfterMs: 60_000, nowMs: () => Date.now() });
    const metrics = new Metrics("test");
    const messages = { renew: () => undefined };
    const keeper = new LeaseKeeper({
      liveJobs: () => live(),
      queues: () => ({}),
      messages,
      ackWaitMs: 30_000,
      heartbeat,
      metrics,
      log: silentLog,
    });
    vi.advanceTimersByTime(3_600_000);
    expect(heartbeat.problem()).toBeUndefined();
    await keeper.start();
    vi.advanceTimersByTime(3_600_000);
    expect(heartbeat.problem()).toBeUndefined();
    live = () => {
      throw new Error("broken");
    };
    vi.advanceTimersByTime(61_000);
    expect(heartbeat.problem()).toBe("no progress for 61 s");
    live = () => jobs;
    vi.advanceTimersByTime(500);
    expect(heartbeat.problem()).toBeUndefined();
    await keeper.stop();
    vi.advanceTimersByTime(3_600_000);
    expect(heartbeat.problem()).toBeUndefined();
  });

  it("a uid always has one slice", () => {
    for (const { uid } of jobs) expect(Number.isInteger(sliceOf(uid, 80)) && sliceOf(uid, 80) < 80).toBe(true);
  });
});

it("millrace_live_jobs: of every configured queue; a label that somebody wrote on a Job makes no other", async () => {
  const metrics = new Metrics("monitor");
  const queues: Record<string, object> = { default: {}, idle: {} };
  const labels = ["default", "default", "gone", "__proto__"].map((queue) => ({ [LABEL.queue]: queue }));
  const jobs = labels.map((of) => jobViewOf({ uid: randomUUID(), labels: of }));
  const messages = { renew: () => undefined };
  const heartbeat = new Heartbeat("lease-keeper", { stallAfterMs: 60_000 });
  const keeper = new LeaseKeeper({
    liveJobs: () => jobs,
    queues: () => queues,
    messages,
    ackWaitMs: 30_000,
    heartbeat,
    metrics,
    log: silentLog,
  });
  const counts = async () =>
    Object.fromEntries((await metrics.liveJobs.get()).values.map(({ labels: of, value }) => [of.queue, value]));
  await keeper.start();
  vi.advanceTimersByTime(500);
  expect(await counts()).toEqual({ default: 2, idle: 0, [UNCONFIGURED_QUEUE]: 2 });
  delete queues["idle"];
  jobs.pop();
  vi.advanceTimersByTime(500);
  expect(await counts()).toEqual({ default: 2, [UNCONFIGURED_QUEUE]: 1 });
  await keeper.stop();
});

describe("Sweeps: whether a subject reaches somebody", () => {
  const queues = { default: {} };
  it.each([
    ["jobs.default.hello", true],
    ["jobs.default.image.resize", true],
    ["jobs.default", false],
    ["jobs.other.hello", false],
    ["jobs.Default.hello", false],
  ])("%s: %s", (subject, routed) => {
    expect(isRouted(subject, queues)).toBe(routed);
  });
});
