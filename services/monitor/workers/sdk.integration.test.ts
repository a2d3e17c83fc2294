import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../../../libs/contract/dead-letter.ts";
import { WorkerBench } from "../../../sdk/testing/worker-bench.ts";
import { running, status, WorkerCluster, WorkerMonitor } from "../../testing/worker-bench.ts";

const ACK_WAIT_MS = 600_000;
const NAMES = ["w0", "w1", "w2"];

let bench: WorkerBench;
let cluster: WorkerCluster;
let monitor: WorkerMonitor;
let named = 0;
beforeAll(async () => {
  bench = await WorkerBench.open(NAMES, ACK_WAIT_MS);
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(async () => {
  cluster = await WorkerCluster.start();
  const workers = Object.fromEntries(NAMES.map((name) => [name, { subject: `${name}.>` }]));
  monitor = await new WorkerMonitor({ cluster, streams: bench.streams, workers, ackWaitMs: ACK_WAIT_MS }).lead();
});
afterEach(async () => {
  await monitor[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
  await bench.stopAll();
});

/** A worker in a pod of this name whose handler never ends by itself, and that holds one message. */
async function hanging(name: string, pod: string, env: NodeJS.ProcessEnv = {}): Promise<void> {
  cluster.add(pod, running());
  bench.start(name, {
    env: { POD_UID: `uid-${pod}`, POD_NAME: pod, ...env },
    handler: ({ signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
      }),
  });
  await bench.claimOf(name);
}
/** The process that this test runs in is told to have ended. */
function dies(pod: string, exitCode: number, reason: string): void {
  const iso = (atMs: number): string => new Date(atMs).toISOString();
  const startedAt = iso(performance.timeOrigin - 2_000);
  cluster.becomes(pod, status("Running", { terminated: { exitCode, reason, startedAt, finishedAt: iso(Date.now() + 2_000) } }));
}

describe("W1: the SDK's claims and the monitor", () => {
  it("what an OOM-killed process held is the next worker's second attempt, long before ack_wait", async () => {
    const name = NAMES[named++] ?? "";
    await bench.publish(`${name}.one`, {});
    await hanging(name, "a");
    const attempts: number[] = [];
    dies("a", 137, "OOMKilled");
    await bench.until(
      () => bench.claimOf(name),
      ({ claim }) => claim.holder === undefined,
    );
    await bench.stopAll();
    cluster.add("b", running());
    const next = bench.start(name, {
      env: { POD_UID: "uid-b", POD_NAME: "b" },
      handler: ({ attempt }) => void attempts.push(attempt),
    });
    await next.log.until("message.succeeded");
    expect(attempts).toEqual([2]);
    await bench.settled(name);
  });

  it("a deleted pod's message burns nothing: the next one runs it at once", async () => {
    const name = NAMES[named++] ?? "";
    await bench.publish(`${name}.one`, {});
    await hanging(name, "c", { MILLRACE_RETRY: '{"attempts": 1}' });
    cluster.becomes("c", running(), { deletionTimestamp: new Date().toISOString(), deletionGracePeriodSeconds: 0 });
    dies("c", 137, "Error");
    await bench.until(
      () => bench.claimOf(name),
      ({ claim }) => claim.free === 1 && claim.failures === 0,
    );
    await bench.stopAll();
    const next = bench.start(name, { env: { MILLRACE_RETRY: '{"attempts": 1}' }, handler: () => undefined });
    await next.log.until("message.succeeded");
    await bench.settled(name);
  });

  it("a process that ends by its last attempt leaves one entry in the DLQ, which says how", async () => {
    const name = NAMES[named++] ?? "";
    await bench.publish(`${name}.one`, { n: 1 });
    await hanging(name, "d", { MILLRACE_RETRY: '{"attempts": 1}' });
    dies("d", 137, "OOMKilled");
    await bench.until(
      () => bench.claimOf(name),
      ({ claim }) => claim.failures === 1,
    );
    await bench.stopAll();
    bench.start(name, { env: { MILLRACE_RETRY: '{"attempts": 1}' }, handler: () => undefined });
    await bench.settled(name);
    const entries = await bench.deadLetters(name);
    expect(entries).toHaveLength(1);
    expect(entries[0]?.header(DLQ_HEADER.class)).toBe("oom");
  });
});
