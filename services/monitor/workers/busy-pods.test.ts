import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { WorkerPod } from "../../../libs/contract/worker-end.ts";
import { KubeApiError } from "../../../libs/kube/errors.ts";
import { silentLog } from "../../../libs/runtime/log.ts";
import { BusyPods } from "./busy-pods.ts";

let pods: Map<string, { pod: WorkerPod; isGone: boolean }>;
let claims: Map<string, number>;
let sent: (number | undefined)[];
let refusal: KubeApiError | undefined;
let isSynced: boolean;
let busy: BusyPods;
let warned: string[];

beforeEach(async () => {
  vi.useFakeTimers();
  pods = new Map();
  claims = new Map();
  sent = [];
  refusal = undefined;
  isSynced = true;
  warned = [];
  busy = newBusy();
  await busy.start();
  addPod("a");
});
afterEach(async () => {
  await busy.stop();
  vi.useRealTimers();
});

function newBusy(): BusyPods {
  return new BusyPods({
    claims: { countOf: (uid) => claims.get(uid) ?? 0, isSynced: () => isSynced },
    pods: {
      sighting: (uid) => pods.get(uid),
      *pods() {
        for (const { pod } of pods.values()) yield pod;
      },
    },
    api: {
      setDeletionCost: (_, cost) => {
        sent.push(cost);
        return refusal === undefined ? Promise.resolve(true) : Promise.reject(refusal);
      },
    },
    workers: () => ({ resize: { deletionCost: true }, plain: { deletionCost: false } }),
    nowMs: () => Date.now(),
    log: { ...silentLog, warn: (event: string) => void warned.push(event) },
  });
}
function addPod(uid: string, rest: Partial<WorkerPod> = {}, isGone = false): void {
  const pod = { namespace: "millrace", name: uid, uid, worker: "resize", phase: "Running", reason: "", ends: [], ...rest };
  pods.set(uid, { pod, isGone });
}
async function holds(count: number, uid = "a"): Promise<void> {
  claims.set(uid, count);
  busy.look(uid);
  await vi.advanceTimersByTimeAsync(0);
}
const later = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe("a busy pod is marked", () => {
  it("at once with its first message, and not any more some seconds after its last", async () => {
    await holds(1);
    expect(sent).toEqual([100]);
    await later(60_000);
    await holds(0);
    await later(4_900);
    expect(sent).toEqual([100]);
    await later(200);
    expect(sent).toEqual([100, undefined]);
    await holds(1);
    await later(1_000);
    expect(sent).toEqual([100, undefined, 100]);
  });

  it("stays marked between two messages", async () => {
    for (let turn = 0; turn < 50; turn += 1) {
      await holds(1);
      await later(300);
      await holds(0);
      await later(300);
    }
    expect(sent).toEqual([100]);
  });

  it("by how much it holds, which is said now and then, and bounded", async () => {
    await holds(1);
    for (let count = 2; count <= 200; count += 1) {
      await holds(count);
      await later(100);
    }
    await later(10_000);
    expect(sent.length).toBeLessThanOrEqual(5);
    expect(sent.at(-1)).toBe(20_000);
    await holds(1_000_000);
    await later(10_000);
    expect(sent.at(-1)).toBe(100_000);
  });

  it("never more than once at a time, and what came meanwhile afterwards", async () => {
    await holds(1);
    await holds(0);
    await holds(2);
    await later(20_000);
    expect(sent).toEqual([100, 200]);
  });
});

describe("nobody is marked", () => {
  it("who is not to be, who leaves, who is not known", async () => {
    addPod("plain", { worker: "plain" });
    addPod("leaving", { deletedAt: "2026-01-01T00:00:00Z" });
    addPod("ended", { phase: "Failed" });
    addPod("gone", {}, true);
    for (const uid of ["plain", "leaving", "ended", "gone", "unknown"]) await holds(1, uid);
    await later(60_000);
    expect(sent).toEqual([]);
  });

  it("before all claims are known", async () => {
    isSynced = false;
    await holds(1);
    expect(sent).toEqual([]);
    isSynced = true;
    busy.lookAtAll();
    expect(sent).toEqual([100]);
  });
});

it("a new leader goes on from what stands on the pods", async () => {
  addPod("b", { deletionCost: "100" });
  addPod("c", { deletionCost: "100" });
  await holds(1, "b");
  busy.lookAtAll();
  await later(60_000);
  expect(sent).toEqual([undefined]);
});

it("without the right to mark it goes on: said once, told to people, asked again now and then", async () => {
  refusal = new KubeApiError({ status: 403, reason: "Forbidden", message: "pods is forbidden" });
  await holds(1);
  await later(70_000);
  expect(sent).toEqual([100, 100, 100]);
  expect(warned).toEqual(["pod.not-marked"]);
  expect(busy.notes()).toEqual([expect.stringContaining("pods is forbidden")]);
  refusal = undefined;
  await later(31_000);
  expect(busy.notes()).toEqual([]);
});

it("a term that ends leaves nothing behind that acts", async () => {
  await holds(1);
  await holds(0);
  await busy.stop();
  await later(60_000);
  await holds(1);
  expect(sent).toEqual([100]);
});
