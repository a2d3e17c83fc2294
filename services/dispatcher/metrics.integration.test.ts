import { afterAll, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { Metrics } from "../../libs/runtime/metrics.ts";
import type { Delivered } from "../../libs/streams/testing/workbench.ts";
import { DispatcherBench, hello, QUEUE, rawIn } from "../testing/dispatcher-bench.ts";
import { pulledMessage } from "./delivery.ts";

let bench: DispatcherBench;
let metrics: Metrics;
beforeAll(async () => {
  bench = await DispatcherBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(async () => {
  await bench.reset();
  metrics = new Metrics("dispatcher");
  bench.dispatcher = bench.newDispatcher({ metrics });
});

const until = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 10_000 });

/** The series of a metric as its service exports it: labels and value, without buckets. */
async function series(name: string): Promise<string[]> {
  const text = await metrics.text();
  return text
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) && !line.includes("le="))
    .map((line) => line.slice(name.length).replace(',service="dispatcher"', ""));
}

/** What is measured of it on a busy machine is off by half of a slow answer. */
const ONE_CLOCK = { clockOffsetMs: () => Promise.resolve(0) };

async function latency() {
  const { values } = await metrics.dispatchLatency.get();
  const of = (suffix: string) => values.find(({ metricName }) => metricName?.endsWith(suffix))?.value ?? 0;
  return { count: of("_count"), seconds: of("_sum") };
}

it("millrace_dispatch_latency_seconds: from the broker's store time until the Job is created, once for each Job", async () => {
  const delivered = await bench.publish(hello("late"));
  const nowMs = () => Number(delivered.source.storedAt) / 1e6 + 42_000;
  await bench.newDispatcher({ metrics, nowMs, broker: ONE_CLOCK }).dispatch([pulled(delivered)], QUEUE, queue());
  await until(async () => expect((await latency()).count).toBe(1));
  expect((await latency()).seconds).toBeCloseTo(42, 5);
});

it("S6: the latency goes by the broker's clock when ours is wrong", async () => {
  const delivered = await bench.publish(hello("behind"));
  const nowMs = () => Number(delivered.source.storedAt) / 1e6 - 600_000;
  const broker = { clockOffsetMs: () => Promise.resolve(603_000) };
  await bench.newDispatcher({ metrics, nowMs, broker }).dispatch([pulled(delivered)], QUEUE, queue());
  await until(async () => expect((await latency()).count).toBe(1));
  expect((await latency()).seconds).toBeCloseTo(3, 5);
});

it("a retry's latency counts from when it became due, not from when it was published first", async () => {
  const retry = await bench.retrying("again");
  metrics = new Metrics("dispatcher");
  const nowMs = () => Number(retry.source.storedAt) / 1e6 + 1_000;
  await bench.newDispatcher({ metrics, nowMs, broker: ONE_CLOCK }).dispatch([pulled(retry)], QUEUE, queue());
  await until(async () => expect((await latency()).count).toBe(1));
  expect((await latency()).seconds).toBeCloseTo(1, 5);
});

it("millrace_redeliveries_total: every delivery of a message but its first", async () => {
  const delivered = await bench.publishAndDispatch(hello("twice"));
  expect(await series("millrace_redeliveries_total")).toEqual([]);
  await bench.dispatch(await bench.redelivered(delivered));
  expect(await series("millrace_redeliveries_total")).toEqual([`{queue="${QUEUE}"} 1`]);
  expect(await series("millrace_jobs_created_total")).toEqual([`{queue="${QUEUE}"} 1`]);
});

it("D8: millrace_blocked_seconds_total: for how long each namespace takes no Jobs, and why", async () => {
  const message = 'jobs.batch "x" is forbidden: exceeded quota: q, requested: count/jobs.batch=1';
  bench.cluster.refuse("full", { status: 403, reason: "Forbidden", message });
  await bench.publishAndDispatch(rawIn("full", "held"));
  await bench.publishAndDispatch(rawIn("free", "runs"));
  bench.clock.advance(150);
  bench.dispatcher.countBlockedTime();
  expect(await series("millrace_blocked_seconds_total")).toEqual([`{queue="${QUEUE}",namespace="full",reason="quota"} 0.15`]);
  bench.dispatcher.countBlockedTime();
  expect(await series("millrace_blocked_seconds_total")).toEqual([`{queue="${QUEUE}",namespace="full",reason="quota"} 0.15`]);
});

it("D9: millrace_dispatch_failures_total: deliveries whose handling failed", async () => {
  const { records } = bench.streams.store;
  const broken = { get: () => Promise.reject(new Error("no")), getMany: records.getMany.bind(records) };
  const retry = await bench.retrying("fails");
  bench.dispatcher = bench.newDispatcher({ metrics, records: broken });
  await bench.dispatch(retry);
  expect(await series("millrace_dispatch_failures_total")).toEqual(['{service="dispatcher"} 1']);
});

it("D2: millrace_dispatch_failures_total: a whole batch whose records cannot be read, too", async () => {
  const silent = () => Promise.reject(new Error("no answer"));
  const messages = [await bench.publish(hello("first")), await bench.publish(hello("second"))];
  bench.dispatcher = bench.newDispatcher({ metrics, records: { get: silent, getMany: silent } });
  await bench.dispatcher.dispatch(messages.map(pulled), QUEUE, queue());
  expect(await series("millrace_dispatch_failures_total")).toEqual(['{service="dispatcher"} 2']);
});

it("D5: millrace_duplicates_total", async () => {
  const first = await bench.publishAndDispatch(hello("same"));
  await bench.seen(first, "same");
  await bench.publishAndDispatch(hello("same"));
  expect(await series("millrace_duplicates_total")).toEqual([`{queue="${QUEUE}"} 1`]);
});

const queue = () => {
  const config = bench.config.queues[QUEUE];
  if (config === undefined) throw new Error("the queue is not configured");
  return config;
};
const pulled = ({ message }: Delivered) => pulledMessage(message);
