import { describe, expect, it } from "vitest";
import { type ContainerEnd, type HeldProcess, processEnd, type WorkerPod } from "./worker-end.ts";

const at = (second: number): string => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString().replace(".000", "");
const bootedAt = (second: number): HeldProcess => ({
  bootedAtMs: Date.UTC(2026, 0, 1, 0, 0, 0) + second * 1_000,
  isOthersOverrun: false,
  key: "WORK.worker-resize.1",
});
/** Started at :05, as its pod says. */
const process = bootedAt(5.3);

const pod = (rest: Partial<WorkerPod> = {}): WorkerPod => ({
  namespace: "millrace",
  name: "resize-1",
  uid: "u",
  worker: "resize",
  phase: "Running",
  reason: "",
  ends: [],
  ...rest,
});
const end = (exitCode: number, reason: string, rest: Partial<ContainerEnd> = {}): ContainerEnd => ({
  exitCode,
  reason,
  startedAt: at(5),
  finishedAt: at(9),
  ...rest,
});
const running = (rest: Partial<WorkerPod> = {}) => pod({ runningSince: at(5), ...rest });
const stopped = (exitCode: number, reason: string, rest: Partial<WorkerPod> = {}) =>
  pod({ ends: [end(exitCode, reason)], ...rest });
const seen = (view: WorkerPod, isGone = false, held = process) => processEnd(view, isGone, held);

describe("W1: how a process ended", () => {
  it.each<[string, WorkerPod]>([
    ["oom", stopped(137, "OOMKilled", { memoryLimit: "64Mi" })],
    ["oom", stopped(137, "OOMKilled")],
    ["oom", stopped(137, "Error", { memoryLimit: "64Mi" })],
    ["exit", stopped(137, "Error")],
    ["exit", stopped(1, "Error")],
    ["exit", stopped(0, "Completed")],
    ["lost", stopped(255, "Unknown")],
    ["lost", stopped(137, "ContainerStatusUnknown", { memoryLimit: "64Mi" })],
    ["evicted", stopped(137, "Error", { phase: "Failed", reason: "Evicted", memoryLimit: "64Mi" })],
    ["evicted", stopped(143, "Error", { disruption: "EvictionByEvictionAPI", disruptedAt: at(8) })],
    ["evicted", stopped(137, "Error", { phase: "Failed", disruption: "TerminationByKubelet", disruptedAt: at(10) })],
    ["preempted", stopped(137, "Error", { disruption: "PreemptionByScheduler", disruptedAt: at(8), deletedAt: at(8) })],
    ["nodeLost", stopped(137, "Error", { disruption: "DeletionByPodGC", disruptedAt: at(8) })],
    ["lost", stopped(137, "Error", { deletedAt: at(8), memoryLimit: "64Mi" })],
    ["lost", stopped(0, "Completed", { deletedAt: at(8) })],
    ["evicted", stopped(1, "Error", { disruption: "SomethingNew", disruptedAt: at(8) })],
  ])("%s: %o", (kind, view) => {
    expect(seen(view)).toMatchObject({ class: kind, isSeen: true });
  });

  it("what a container did before anybody asked for the end of its pod is its own", () => {
    expect(seen(stopped(1, "Error", { deletedAt: at(20) }))).toMatchObject({ class: "exit" });
    expect(
      seen(stopped(137, "OOMKilled", { deletedAt: at(20), disruption: "EvictionByEvictionAPI", disruptedAt: at(20) })),
    ).toMatchObject({
      class: "oom",
    });
    // A kill in the seconds around it is that of the deletion: two clocks tell of them.
    expect(seen(stopped(137, "Error", { deletedAt: at(10), memoryLimit: "64Mi" }))).toMatchObject({ class: "lost" });
  });

  it("one that ended itself because of another message's timeout did nothing wrong", () => {
    const view = stopped(137, "Error", { memoryLimit: "64Mi" });
    expect(processEnd(view, false, { ...process, isOthersOverrun: true })).toMatchObject({ class: "lost" });
  });

  it("one that killed itself says of which message that is the fault; the others did nothing wrong", () => {
    const killed = (overran: string[], rest: Partial<WorkerPod> = {}) =>
      seen(pod({ ends: [end(137, "Error", { lastWords: { overran } })], memoryLimit: "64Mi", ...rest }));
    expect(killed([process.key])).toMatchObject({ class: "timeout", isSeen: true });
    expect(killed([process.key], { deletedAt: at(8) })).toMatchObject({ class: "timeout" });
    expect(killed(["WORK.worker-resize.2"])).toMatchObject({ class: "lost", isSeen: true });
    // Its lease was lost: the message that it is the fault of is another's by now.
    expect(killed([])).toMatchObject({ class: "lost" });
    expect(killed([], { deletedAt: at(8) })).toMatchObject({ class: "lost", reason: expect.stringContaining("deleted") });
  });
});

describe("W1: a pod outlives its processes", () => {
  const again = pod({ runningSince: at(20), ends: [end(137, "OOMKilled")] });

  it("what runs now is alive, what ran before is not", () => {
    expect(seen(running())).toBeUndefined();
    expect(seen(again)).toMatchObject({ class: "oom", isSeen: true });
    expect(seen(again, false, bootedAt(20.2))).toBeUndefined();
  });

  it("each process has its own end, of the two that the kubelet remembers; an older one nobody saw", () => {
    const twice = pod({ ends: [end(137, "OOMKilled"), end(2, "Error", { startedAt: at(20), finishedAt: at(30) })] });
    expect(seen(twice)).toMatchObject({ class: "oom" });
    expect(seen(twice, false, bootedAt(20.5))).toMatchObject({ class: "exit" });
    expect(seen(twice, false, bootedAt(1))).toMatchObject({ class: "lost", isSeen: true });
  });

  it("a status that is older than the process says nothing of it", () => {
    expect(seen(stopped(1, "Error"), false, bootedAt(12))).toBeUndefined();
    expect(seen(pod({ phase: "Pending" }))).toBeUndefined();
  });

  it("one that began in the second of the last end is in doubt, until its pod starts nothing more", () => {
    expect(seen(stopped(1, "Error"), false, bootedAt(9.5))).toMatchObject({ class: "exit", isSeen: false });
    expect(seen(pod({ runningSince: at(9), ends: [end(1, "Error")] }), false, bootedAt(9.5))).toMatchObject({ isSeen: false });
    expect(seen(stopped(1, "Error", { deletedAt: at(30) }), false, bootedAt(9.5))).toMatchObject({ isSeen: true });
  });

  it("one whose start was noted in the second after it lives, and what ends it is its own", () => {
    const early = bootedAt(4.98);
    expect(seen(running(), false, early)).toBeUndefined();
    expect(seen(stopped(137, "OOMKilled"), false, early)).toMatchObject({ class: "oom", isSeen: true });
    const before = end(1, "Error", { startedAt: at(1), finishedAt: at(4) });
    expect(seen(running({ ends: [before] }), false, early)).toMatchObject({ class: "lost", isSeen: false });
    expect(seen(pod({ ends: [before, end(137, "OOMKilled")] }), false, early)).toMatchObject({ class: "oom", isSeen: true });
  });

  it("one that began long before what runs is in doubt when no end of it is known, for its node's clock may have been set", () => {
    expect(seen(running({ runningSince: at(20) }))).toMatchObject({ class: "lost", isSeen: false });
    const unseen: ContainerEnd = { exitCode: 137, reason: "ContainerStatusUnknown" };
    expect(seen(running({ runningSince: at(20), ends: [unseen] }))).toMatchObject({ class: "lost", isSeen: false });
    expect(seen(running({ ends: [unseen] }))).toBeUndefined();
    const setBack = running({ ends: [end(1, "Error", { startedAt: at(30), finishedAt: at(40) })] });
    expect(seen(setBack)).toMatchObject({ class: "lost", isSeen: false });
    expect(seen(setBack, false, bootedAt(30.1))).toMatchObject({ class: "exit", isSeen: false });
  });

  it("of two that began within seconds each has its own end", () => {
    const first = end(1, "Error", { startedAt: at(4), finishedAt: at(5) });
    const second = end(137, "OOMKilled", { startedAt: at(6), finishedAt: at(9) });
    const both = pod({ ends: [first, second] });
    expect(seen(both, false, bootedAt(4.1))).toMatchObject({ class: "exit" });
    expect(seen(both, false, bootedAt(5.99))).toMatchObject({ class: "oom" });
    expect(seen(both, false, bootedAt(6.2))).toMatchObject({ class: "oom" });
    // Nobody knows how what still runs ends.
    expect(seen(pod({ runningSince: at(6), ends: [first] }), false, bootedAt(5.99))).toMatchObject({
      class: "lost",
      isSeen: false,
    });
    const evicted = { phase: "Failed", reason: "Evicted", runningSince: at(20), ends: [first] };
    expect(seen(pod(evicted), false, bootedAt(20.1))).toMatchObject({ class: "evicted", isSeen: false });
  });

  it("while its pod is being deleted it may work on", () => {
    expect(seen(running({ deletedAt: at(8) }))).toBeUndefined();
    expect(seen(running({ deletedAt: at(8), disruption: "EvictionByEvictionAPI", disruptedAt: at(8) }))).toBeUndefined();
  });
});

describe("W1: what no node saw end is in doubt", () => {
  it("J4: a tainted node: the process may live on without a network, or end in peace", () => {
    const view = running({ disruption: "DeletionByTaintManager", disruptedAt: at(50), deletedAt: at(50) });
    expect(seen(view)).toMatchObject({ class: "nodeLost", isSeen: false });
  });

  it("a pod that was removed by force, or by the control plane together with its node", () => {
    expect(seen(running(), true)).toMatchObject({ class: "lost", isSeen: false });
    expect(seen(running({ deletedAt: at(8) }), true)).toMatchObject({ class: "lost", isSeen: false });
    const collected = running({ phase: "Failed", disruption: "DeletionByPodGC", disruptedAt: at(50) });
    expect(seen(collected)).toMatchObject({ class: "nodeLost", isSeen: false });
  });

  it("but one whose container had ended when it went is not", () => {
    expect(seen(stopped(1, "Error"), true)).toMatchObject({ class: "exit", isSeen: true });
    expect(seen(stopped(1, "Error"), true, bootedAt(12))).toMatchObject({ isSeen: false });
    expect(seen(pod({ phase: "Failed" }), false)).toMatchObject({ class: "lost", isSeen: false });
  });
});
