import type { Gauge } from "prom-client";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { rejected } from "../../libs/contract/message.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { Metrics, UNCONFIGURED_QUEUE } from "../../libs/runtime/metrics.ts";
import { queuesOf } from "../../libs/streams/testing/workbench.ts";
import { type Made, MonitorBench, QUEUE, terminated } from "../testing/monitor-bench.ts";
import { QueueGauges } from "./queue-gauges.ts";

let bench: MonitorBench;
let metrics: Metrics;
let gauges: QueueGauges;
beforeAll(async () => {
  bench = await MonitorBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(async () => {
  await bench.reset();
  bench.configure({ retry: { attempts: 3, backoff: { initial: "0s" } } });
  // Consumers that have delivered nothing yet.
  for (const stream of [STREAM.jobs, STREAM.retry]) await bench.streams.manager.consumers.delete(stream, `queue-${QUEUE}`);
  await bench.streams.provisioner.consumers(queuesOf([QUEUE]));
  metrics = new Metrics("monitor");
  const { connection } = bench.streams;
  gauges = await QueueGauges.open({ connection, queues: () => ({ ...bench.config.queues, empty: {} }), metrics });
});

async function by(gauge: Gauge<"queue">): Promise<Record<string, number>> {
  const { values } = await gauge.get();
  return Object.fromEntries(values.map(({ labels, value }) => [labels.queue ?? "", value]));
}
async function failed(id: string): Promise<Made> {
  const made = await bench.running(id);
  bench.cluster.end(made.job, "Failed", terminated(3));
  await bench.reconciler.reconcile(made.uid);
  return made;
}

it("A25: queue_length: what waits and what runs, on both streams, of every configured queue", async () => {
  await bench.running("runs");
  await failed("due");
  await bench.streams.publish(QUEUE, "waits");
  await gauges.sweep();
  expect(await by(metrics.queueLength)).toEqual({ [QUEUE]: 3, empty: 0 });
});

describe("millrace_oldest_waiting_seconds", () => {
  const oldest = async (): Promise<number | undefined> => {
    await gauges.sweep();
    return (await by(metrics.oldestWaiting))[QUEUE];
  };
  const storedAtMs = async (seq: number): Promise<number> =>
    (await bench.streams.manager.streams.getMessage(STREAM.jobs, { seq }))?.time.getTime() ?? 0;

  it("is 0 while nothing waits, also while something runs", async () => {
    expect(await oldest()).toBe(0);
    await bench.running("runs");
    expect(await oldest()).toBe(0);
    expect((await by(metrics.oldestWaiting))["empty"]).toBe(0);
  });

  it("is the age of the first message that was not delivered, which grows; then of the one behind it", async () => {
    await bench.streams.publish(QUEUE, "first");
    await vi.waitFor(async () => expect(await oldest()).toBeGreaterThan(0.3), { timeout: 10_000 });
    const second = await storedAtMs(await bench.streams.publish(QUEUE, "second"));
    expect(await oldest()).toBeGreaterThan(0.3);
    await bench.streams.one(QUEUE);
    const seconds = await oldest();
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual((Date.now() - second) / 1000);
    await bench.streams.one(QUEUE);
    expect(await oldest()).toBe(0);
  });

  it("a retry that is due and was not delivered waits, too", async () => {
    await failed("due");
    await vi.waitFor(async () => expect(await oldest()).toBeGreaterThan(0), { timeout: 10_000 });
    await bench.due();
    expect(await oldest()).toBe(0);
  });
});

describe("millrace_dead_letters", () => {
  async function letter(queue: string, seq: number): Promise<void> {
    await bench.streams.store.deadLetters.rejected({
      queue,
      type: "hello",
      id: undefined,
      source: { stream: "JOBS", seq, storedAt: "1" },
      rejection: rejected("INTERNAL", "", "").rejection,
      original: { subject: "jobs", headers: {} },
      body: new Uint8Array(),
    });
  }

  it("counts each configured queue's entries; all others' together, whatever they are called", async () => {
    for (const seq of [1, 2, 3]) await letter(QUEUE, seq);
    await letter(`${QUEUE}-2`, 4);
    await letter("misspelt", 5);
    await gauges.sweep();
    expect(await by(metrics.deadLetters)).toEqual({ [QUEUE]: 3, empty: 0, [UNCONFIGURED_QUEUE]: 2 });
  });

  it("goes down when entries go, and the count leaves no consumer behind", async () => {
    for (const seq of [1, 2]) await letter(QUEUE, seq);
    await gauges.sweep();
    await bench.streams.manager.streams.purge(STREAM.deadLetters, { filter: `dlq.${QUEUE}.>`, keep: 1 });
    await gauges.sweep();
    expect((await by(metrics.deadLetters))[QUEUE]).toBe(1);
    expect((await bench.streams.manager.streams.info(STREAM.deadLetters)).state.consumer_count).toBe(0);
  });
});
