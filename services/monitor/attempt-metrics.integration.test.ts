import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { ANNOTATION } from "../../libs/contract/names.ts";
import { Metrics, UNCONFIGURED_QUEUE } from "../../libs/runtime/metrics.ts";
import { type MadeOptions, MonitorBench, QUEUE, terminated } from "../testing/monitor-bench.ts";

let bench: MonitorBench;
let metrics: Metrics;
beforeAll(async () => {
  bench = await MonitorBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(async () => {
  await bench.reset();
  bench.configure({ retry: { attempts: 2, backoff: { initial: "0s" } } });
  metrics = new Metrics("monitor");
  bench.reconciler = bench.newReconciler({ metrics });
});

/** An attempt that ended; its container began at :01 and ended at :09 (monitor-bench). */
async function ended(id: string, exitCode: number, rest: MadeOptions = {}): Promise<void> {
  const made = await bench.running(id, rest);
  bench.cluster.end(made.job, exitCode === 0 ? "Complete" : "Failed", terminated(exitCode));
  await bench.reconciler.reconcile(made.uid);
}

/** The series of a metric: its labels, and its value, count or sum. */
async function series(name: string): Promise<string[]> {
  const text = await metrics.text();
  const of = text.split("\n").filter((line) => line.startsWith(name) && !line.includes("le="));
  return of.map((line) =>
    line
      .slice(name.length)
      .replaceAll(/service="monitor",?/g, "")
      .replace(",}", "}"),
  );
}

it("millrace_attempts_ended_total: every attempt once, succeeded or by the class of its failure; retries and outcomes beside it", async () => {
  await ended("good", 0);
  await ended("bad", 3);
  await ended("bad", 3, { attempt: 2, of: await bench.due() });
  expect(await series("millrace_attempts_ended_total")).toEqual([
    `{queue="${QUEUE}",class="succeeded"} 1`,
    `{queue="${QUEUE}",class="exit"} 2`,
  ]);
  expect(await series("millrace_retries_total")).toEqual([`{queue="${QUEUE}",class="exit"} 1`]);
  expect(await series("messages_processed_total")).toEqual([`{queue="${QUEUE}"} 1`]);
  expect(await series("messages_failed_total")).toEqual([`{queue="${QUEUE}"} 1`]);
});

it("two monitors that settle the same attempt at once count it once", async () => {
  const made = await bench.running("good");
  bench.cluster.end(made.job, "Complete", terminated(0));
  const monitors = [bench.newReconciler({ metrics }), bench.newReconciler({ metrics })];
  await Promise.all(monitors.map((monitor) => monitor.reconcile(made.uid)));
  expect(await series("millrace_attempts_ended_total")).toEqual([`{queue="${QUEUE}",class="succeeded"} 1`]);
  expect(await series("messages_processed_total")).toEqual([`{queue="${QUEUE}"} 1`]);
});

it("P1: what was cancelled while it ran is of the class cancelled", async () => {
  const made = await bench.running("unwanted");
  await bench.cluster.jobs.suspend("jobs", made.job.metadata?.name ?? "", made.uid, "cancelled", "asked");
  await bench.reconciler.reconcile(made.uid);
  expect(made.job.metadata?.annotations?.[ANNOTATION.stop]).toBe("cancelled");
  expect(await series("millrace_attempts_ended_total")).toEqual([`{queue="${QUEUE}",class="cancelled"} 1`]);
});

it("millrace_job_duration_seconds: for how long the container ran, by outcome", async () => {
  await ended("good", 0);
  await ended("bad", 3);
  expect(await series("millrace_job_duration_seconds_sum")).toEqual([
    `{queue="${QUEUE}",outcome="succeeded"} 8`,
    `{queue="${QUEUE}",outcome="failed"} 8`,
  ]);
});

it("millrace_start_delay_seconds: from the Job's creation until its container started", async () => {
  const made = await bench.running("slow");
  const createdAt = new Date("2026-01-01T00:00:00Z");
  made.job.metadata = { ...made.job.metadata, creationTimestamp: createdAt };
  bench.cluster.end(made.job, "Complete", terminated(0));
  await bench.reconciler.reconcile(made.uid);
  expect(await series("millrace_start_delay_seconds_sum")).toEqual([`{queue="${QUEUE}"} 1`]);
});

it("an attempt of a queue that is not configured any more makes no label of its own", async () => {
  const made = await bench.running("left");
  bench.config = { ...bench.config, queues: {} };
  bench.cluster.end(made.job, "Complete", terminated(0));
  await bench.reconciler.reconcile(made.uid);
  expect(await series("millrace_attempts_ended_total")).toEqual([`{queue="${UNCONFIGURED_QUEUE}",class="succeeded"} 1`]);
});
