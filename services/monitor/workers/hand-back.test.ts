import { beforeEach, describe, expect, it } from "vitest";
import { silentAfterMs } from "../../../libs/contract/lease-rhythm.ts";
import type { WorkClaim } from "../../../libs/contract/work-claim.ts";
import type { WorkerPod } from "../../../libs/contract/worker-end.ts";
import { silentLog } from "../../../libs/runtime/log.ts";
import { Metrics } from "../../../libs/runtime/metrics.ts";
import type { StoredClaim } from "../../../libs/streams/claims.ts";
import { HandBack } from "./hand-back.ts";

const ACK_WAIT_MS = 120_000;
const SILENT_AFTER_MS = silentAfterMs(ACK_WAIT_MS);
const POD = "uid-a";
const pod: WorkerPod = {
  ...{ namespace: "millrace", name: "a", uid: POD, worker: "resize", phase: "Running", reason: "" },
  ...{ runningSince: "2026-01-01T00:00:05Z", ends: [] },
};
const held: WorkClaim = {
  worker: "resize",
  holder: { pod: POD, podName: "a", process: "a-1", bootedAtMs: Date.parse("2026-01-01T00:00:05.3Z") },
  ...{ delivery: 1, ack: "$JS.ACK.WORK.worker-resize.1.7.1.0.0", failures: 0, free: 0 },
};

let stored: StoredClaim;
let sighting: { pod: WorkerPod; isGone: boolean } | undefined;
let problem: string | undefined;
let nowMs: number;
let upForMs: number;
let handBack: HandBack;

beforeEach(() => {
  stored = { key: "WORK.worker-resize.7", claim: held, revision: 1, writtenAtMs: 0 };
  // It was removed by force: nobody saw its process end.
  sighting = { pod, isGone: true };
  problem = undefined;
  nowMs = 0;
  upForMs = Number.MAX_SAFE_INTEGER;
  handBack = new HandBack({
    claims: { ofPod: () => [stored], all: () => [stored].values(), pods: () => [POD].values(), isSynced: () => true },
    store: {
      swap: (key, claim, revision) => {
        if (revision !== stored.revision) return Promise.resolve({ kind: "lost" });
        stored = { key, claim, revision: revision + 1, writtenAtMs: nowMs };
        return Promise.resolve({ kind: "won", revision: stored.revision });
      },
    },
    pods: { sighting: () => sighting, problem: () => problem },
    nak: () => {},
    ackWaitMs: ACK_WAIT_MS,
    nowMs: () => Promise.resolve(nowMs),
    upForMs: () => upForMs,
    workers: () => ({ resize: {} }),
    metrics: new Metrics("monitor"),
    log: silentLog,
  });
});

/** As its holder's heartbeat does. */
function beats(): void {
  stored = { ...stored, revision: stored.revision + 1, writtenAtMs: nowMs };
}
const isHeld = (): boolean => stored.claim.holder !== undefined;

describe("W1: what nobody saw end", () => {
  it("keeps its message for as long as it beats, and loses it when its heartbeat is missed", async () => {
    for (let beat = 0; beat < 4; beat += 1) {
      nowMs += SILENT_AFTER_MS - 1;
      expect(await handBack.look(POD)).toBe(1);
      beats();
      expect(await handBack.look(POD)).toBe(SILENT_AFTER_MS);
    }
    nowMs += SILENT_AFTER_MS;
    expect(isHeld()).toBe(true);
    expect(await handBack.look(POD)).toBeUndefined();
    expect(stored.claim).toMatchObject({ free: 1, failures: 0, ended: { class: "lost" } });
    expect(isHeld()).toBe(false);
  });

  it("is silent only as long as the broker could be reached", async () => {
    nowMs = 10 * SILENT_AFTER_MS;
    upForMs = 0;
    expect(await handBack.look(POD)).toBe(SILENT_AFTER_MS);
    upForMs = SILENT_AFTER_MS;
    await handBack.look(POD);
    expect(isHeld()).toBe(false);
  });

  it("is waited for by the ack_wait that it renews by, when that is the longer one", async () => {
    const holder = { ...held.holder, ackWaitMs: 2 * ACK_WAIT_MS } as WorkClaim["holder"];
    stored = { ...stored, claim: { ...held, holder } };
    nowMs = SILENT_AFTER_MS;
    expect(await handBack.look(POD)).toBeGreaterThan(0);
    expect(isHeld()).toBe(true);
  });

  it("is left alone while pods are not seen: its pod may be among them", async () => {
    nowMs = 10 * SILENT_AFTER_MS;
    sighting = undefined;
    problem = "pods is forbidden";
    expect(await handBack.look(POD)).toBeUndefined();
    expect(isHeld()).toBe(true);
    problem = undefined;
    await handBack.look(POD);
    expect(stored.claim).toMatchObject({ free: 1, ended: { class: "lost", reason: "its pod is gone" } });
  });
});

it("W1: what was seen to end is handed back at once, however fresh its heartbeat", async () => {
  const end = { exitCode: 137, reason: "OOMKilled", startedAt: "2026-01-01T00:00:05Z", finishedAt: "2026-01-01T00:00:09Z" };
  const { runningSince: _, ...ended } = pod;
  sighting = { pod: { ...ended, ends: [end] }, isGone: false };
  expect(await handBack.look(POD)).toBeUndefined();
  expect(stored.claim).toMatchObject({ failures: 1, free: 0, ended: { class: "oom" } });
});
