import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ContainerView, JobView, PodView } from "./observation.ts";
import { jobViewOf, podViewOf } from "./testing/records.ts";
import { judge, judgeStopped } from "./verdict.ts";

const at = "2026-01-01T00:01:00Z";
const failed = (reason = "BackoffLimitExceeded"): Partial<JobView> => ({ failed: { at, reason, message: "" } });
const ended = (exitCode: number, reason = exitCode === 0 ? "Completed" : "Error", message = ""): ContainerView => ({
  name: "main",
  terminated: { exitCode, reason, message, startedAt: "2026-01-01T00:00:10Z", finishedAt: "2026-01-01T00:00:20Z" },
});
const endedAt = (minute: string, view: ContainerView): ContainerView => ({
  ...view,
  ...(view.terminated === undefined ? {} : { terminated: { ...view.terminated, finishedAt: `2026-01-01T00:${minute}Z` } }),
});
const waiting: ContainerView = { name: "main" };
const running: ContainerView = { name: "main", startedAt: "2026-01-01T00:00:10Z" };

type Case = readonly [string, Partial<JobView>, readonly PodView[], object];

describe("J1: how an attempt ended", () => {
  const table: readonly Case[] = [
    [
      "complete",
      { completedAt: at },
      [podViewOf({ containers: [ended(0)] })],
      { kind: "succeeded", exitCode: 0, endedAt: "2026-01-01T00:00:20Z", node: "node0" },
    ],
    [
      "complete, with a result",
      { completedAt: at },
      [podViewOf({ containers: [ended(0, "Completed", "42")] })],
      { kind: "succeeded", result: "42" },
    ],
    ["complete, its pod never seen", { completedAt: at }, [], { kind: "succeeded", endedAt: at }],
    ["complete wins over failed", { completedAt: at, ...failed() }, [], { kind: "succeeded" }],
    [
      "exit code",
      failed(),
      [podViewOf({ containers: [ended(3)] })],
      { kind: "failed", class: "exit", exitCode: 3, startedAt: "2026-01-01T00:00:10Z" },
    ],
    [
      "exit code of a side container",
      failed(),
      [podViewOf({ containers: [ended(0), { ...ended(9), name: "proxy" }] })],
      { class: "exit", reason: "container proxy exited with code 9" },
    ],
    [
      "the side container that failed first, because main may have failed for the lack of it",
      failed(),
      [podViewOf({ containers: [ended(1), endedAt("00:15", { ...ended(9), name: "proxy" })] })],
      { class: "exit", container: "proxy", exitCode: 9 },
    ],
    [
      "an init container, not the sidecar that was terminated after it",
      failed(),
      [
        podViewOf({
          containers: [waiting, { ...ended(143), name: "proxy", role: "sidecar" }, { ...ended(64), name: "fetch", role: "init" }],
        }),
      ],
      { class: "exit", container: "fetch", exitCode: 64 },
    ],
    [
      "OOMKilled",
      { ...failed(), memoryLimits: { main: "64Mi", proxy: "1Gi" } },
      [podViewOf({ containers: [ended(137, "OOMKilled")] })],
      {
        class: "oom",
        exitCode: 137,
        container: "main",
        memoryLimit: "64Mi",
        reason: "container main was killed for using more memory than its limit of 64Mi",
      },
    ],
    ...(["init", "sidecar"] as const).map(
      (role): Case => [
        `OOMKilled: ${role}`,
        { ...failed(), memoryLimits: { main: "64Mi", fetch: "1Gi" } },
        [podViewOf({ containers: [waiting, { ...ended(137, "OOMKilled"), name: "fetch", role }] })],
        { class: "oom", container: "fetch", memoryLimit: "1Gi" },
      ],
    ),
    [
      "killed with a memory limit, and containerd missed the kernel's word: taken for OOM",
      { ...failed(), memoryLimits: { main: "64Mi" } },
      [podViewOf({ containers: [ended(137, "Error")] })],
      { class: "oom", exitCode: 137, container: "main", memoryLimit: "64Mi", presumed: true },
    ],
    ["killed without a memory limit: an exit", failed(), [podViewOf({ containers: [ended(137, "Error")] })], { class: "exit" }],
    [
      "OOMKilled without a limit: its node ran out",
      failed(),
      [podViewOf({ containers: [ended(137, "OOMKilled")] })],
      { class: "oom", reason: "container main was killed for lack of memory; it has no limit, so its node ran out of it" },
    ],
    [
      "evicted, and killed for memory by that: the node's trouble, not the limit's",
      failed(),
      [podViewOf({ reason: "Evicted", containers: [ended(137, "OOMKilled")] })],
      { class: "evicted" },
    ],
    ...([143, 137, 3] as const).map(
      (exitCode): Case => [
        `deleted by hand while it ran: exit ${exitCode} is how it took that`,
        failed(),
        [podViewOf({ deletedAt: "2026-01-01T00:00:20Z", containers: [ended(exitCode)] })],
        { class: "lost", reason: "somebody deleted its pod before it had ended" },
      ],
    ),
    ...(
      [
        [255, "Unknown"],
        [137, "ContainerStatusUnknown"],
      ] as const
    ).map(
      ([exitCode, reason]): Case => [
        `its node started anew under it: ${exitCode} is made up`,
        failed(),
        [podViewOf({ containers: [ended(exitCode, reason)] })],
        { class: "lost", reason: `nobody saw container main end, as when its node starts anew (${reason})` },
      ],
    ),
    [
      "deleted by hand, and its node's clock is a second behind",
      failed("PodFailurePolicy"),
      [podViewOf({ deletedAt: "2026-01-01T00:00:21Z", containers: [ended(143)] })],
      { class: "lost" },
    ],
    [
      "deleted by hand, and nobody saw its end",
      failed(),
      [podViewOf({ deletedAt: "2026-01-01T00:00:20Z", containers: [running] })],
      { class: "lost", reason: "somebody deleted its pod before it had ended" },
    ],
    [
      "deleted by hand, and the kubelet made its end up",
      failed(),
      [
        podViewOf({
          deletedAt: "2026-01-01T00:00:20Z",
          containers: [{ name: "main", terminated: { exitCode: 137, reason: "ContainerStatusUnknown", message: "" } }],
        }),
      ],
      { class: "lost" },
    ],
    [
      "it had ended before its pod was deleted",
      failed(),
      [podViewOf({ deletedAt: "2026-01-01T00:00:21Z", containers: [ended(3)] })],
      { class: "exit", exitCode: 3 },
    ],
    ...(["StartError", "ContainerCannotRun"] as const).flatMap((reason): Case[] => [
      [
        `${reason}: the image has no such command`,
        failed(),
        [podViewOf({ containers: [ended(128, reason, 'exec: "nope": executable file not found in $PATH: unknown')] })],
        { class: "containerConfig" },
      ],
      [
        `${reason}: the kubelet was killed while it started the container`,
        failed(),
        [podViewOf({ containers: [ended(128, reason, "failed to create shim task: context canceled: unknown")] })],
        { class: "neverStarted" },
      ],
    ]),
    ["deadline after a start", failed("DeadlineExceeded"), [podViewOf({ containers: [running] })], { class: "deadline" }],
    ["deadline after an end", failed("DeadlineExceeded"), [podViewOf({ containers: [ended(143)] })], { class: "deadline" }],
    ["deadline before any start", failed("DeadlineExceeded"), [podViewOf({ containers: [waiting] })], { class: "neverStarted" }],
    ["deadline without a pod", failed("DeadlineExceeded"), [], { class: "neverStarted" }],
    ["the pod's own deadline", failed(), [podViewOf({ reason: "DeadlineExceeded" })], { class: "deadline" }],
    ["evicted by the kubelet", failed(), [podViewOf({ reason: "Evicted" })], { class: "evicted" }],
    [
      "disrupted: scheduler",
      failed(),
      [podViewOf({ disruption: "PreemptionByScheduler", containers: [ended(137)] })],
      { class: "preempted" },
    ],
    ["disrupted: taint manager", failed(), [podViewOf({ disruption: "DeletionByTaintManager" })], { class: "nodeLost" }],
    ["disrupted: pod GC", failed(), [podViewOf({ disruption: "DeletionByPodGC" })], { class: "nodeLost" }],
    [
      "disrupted: eviction API",
      failed(),
      [podViewOf({ disruption: "EvictionByEvictionAPI", containers: [ended(143)] })],
      { class: "evicted" },
    ],
    ["disrupted: kubelet", failed(), [podViewOf({ disruption: "TerminationByKubelet" })], { class: "evicted" }],
    ["disrupted: a reason of tomorrow", failed(), [podViewOf({ disruption: "Something" })], { class: "evicted" }],
    ["no pod", failed(), [], { class: "lost", endedAt: at }],
    ["a pod whose end nobody saw", failed(), [podViewOf({ containers: [running] })], { class: "lost" }],
    [
      "an end without times",
      failed(),
      [
        podViewOf({
          containers: [{ name: "main", terminated: { exitCode: 137, reason: "ContainerStatusUnknown", message: "" } }],
        }),
      ],
      { class: "lost", endedAt: at },
    ],
  ];
  it.each(table)("%s", (_what, job, pods, verdict) => {
    expect(judge(jobViewOf(job), pods)).toMatchObject(verdict);
  });

  it("the newest pod that started decides, in whatever order they were seen", () => {
    const pods = [
      podViewOf({ uid: "1", createdAt: "2026-01-01T00:00:01Z", containers: [ended(1)] }),
      podViewOf({ uid: "2", createdAt: "2026-01-01T00:00:02Z", containers: [ended(2)] }),
      podViewOf({ uid: "3", createdAt: "2026-01-01T00:00:03Z", containers: [waiting] }),
    ];
    fc.assert(
      fc.property(fc.shuffledSubarray(pods, { minLength: 3 }), (order) => {
        expect(judge(jobViewOf(failed()), order)).toMatchObject({ exitCode: 2 });
      }),
    );
  });

  it("never on a Job that is neither Complete nor Failed, whatever its pods look like", () => {
    const container = fc.constantFrom(ended(0), ended(1), ended(137, "OOMKilled"), running, waiting);
    const pod = fc.record({
      phase: fc.constantFrom("Failed", "Succeeded", "Running", "Pending"),
      reason: fc.constantFrom("", "Evicted", "DeadlineExceeded"),
      disruption: fc.constantFrom("DeletionByTaintManager", "EvictionByEvictionAPI"),
      containers: fc.array(container, { maxLength: 2 }),
    });
    fc.assert(
      fc.property(fc.array(pod, { maxLength: 3 }), fc.boolean(), (pods, deleting) => {
        expect(judge(jobViewOf({ deleting }), pods.map(podViewOf))).toEqual({ kind: "live" });
      }),
    );
  });
});

describe("J4: a lost node", () => {
  const marked = podViewOf({
    phase: "Running",
    disruption: "DeletionByTaintManager",
    disruptedAt: "2026-01-01T00:00:45Z",
    deletedAt: "2026-01-01T00:00:46Z",
    containers: [running],
  });
  const target = { failureTarget: { at: "2026-01-01T00:00:50Z", reason: "BackoffLimitExceeded" } };

  it.each([
    ["at FailureTarget", target, "2026-01-01T00:00:50Z"],
    ["not failed at all", {}, "2026-01-01T00:00:45Z"],
  ])("fast: the mark on the pod is enough, its Job %s", (_what, job, endedAt) => {
    expect(judge(jobViewOf(job), [marked], { nodeLoss: "fast" })).toEqual({
      kind: "failed",
      class: "nodeLost",
      reason: "its node became unreachable or was tainted (DeletionByTaintManager)",
      node: "node0",
      startedAt: "2026-01-01T00:00:10Z",
      endedAt,
    });
  });

  it("safe: it waits until the Job has failed, which it does when the pod object is gone", () => {
    expect(judge(jobViewOf(target), [marked], { nodeLoss: "safe" })).toEqual({ kind: "live" });
    expect(judge(jobViewOf({ ...target, ...failed() }), [marked], { nodeLoss: "safe" })).toMatchObject({ class: "nodeLost" });
  });

  it.each([
    ["no mark", { disruption: undefined }],
    ["another disruption, whose kubelet answers", { disruption: "EvictionByEvictionAPI" }],
    ["its main container had succeeded", { disruption: "DeletionByTaintManager", containers: [ended(0)] }],
    ["its pod had succeeded", { disruption: "DeletionByTaintManager", phase: "Succeeded" }],
  ])("fast waits for the Job: %s", (_what, { disruption, ...rest }) => {
    const { disruption: _mark, ...unmarked } = marked;
    const pod = { ...unmarked, ...(disruption === undefined ? {} : { disruption }), ...rest };
    expect(judge(jobViewOf(target), [pod], { nodeLoss: "fast" })).toEqual({ kind: "live" });
  });
});

describe("P1: what ends in another way while it is being cancelled is cancelled", () => {
  const stop = { suspended: true, stop: "cancelled", annotations: { "millrace.dev/stop-reason": "cancelled by ann" } };
  const lost = podViewOf({ phase: "Running", disruption: "DeletionByTaintManager", disruptedAt: at, containers: [running] });

  it.each([
    ["its container failed", failed(), [podViewOf({ containers: [ended(3)] })]],
    ["its deadline passed", failed("DeadlineExceeded"), [podViewOf({ containers: [ended(143)] })]],
    ["its node was lost", {}, [lost]],
  ] as const)("%s", (_what, job, pods) => {
    const verdict = judge(jobViewOf({ ...job, ...stop }), pods, { nodeLoss: "fast" });
    expect(verdict).toMatchObject({ kind: "cancelled", reason: "cancelled by ann", node: "node0" });
  });

  it("a success wins", () => {
    expect(judge(jobViewOf({ ...stop, completedAt: at }), [])).toMatchObject({ kind: "succeeded" });
  });
});

describe("J2: how a stopped attempt ended", () => {
  const stop = (what: string): Partial<JobView> => ({ suspended: true, stop: what });
  const terminated = { deletedAt: "2026-01-01T00:00:15Z", containers: [ended(143)] };

  const table: readonly Case[] = [
    [
      "a success wins over a cancel",
      stop("cancelled"),
      [podViewOf({ containers: [ended(0)] })],
      { kind: "succeeded", exitCode: 0 },
    ],
    [
      "a success of main wins, whatever ended beside it",
      stop("evicted"),
      [podViewOf({ ...terminated, containers: [ended(0, "Completed", "42"), { ...ended(143), name: "proxy" }] })],
      { kind: "succeeded", result: "42" },
    ],
    ["a pod that succeeded", stop("neverStarted"), [podViewOf({ phase: "Succeeded" })], { kind: "succeeded" }],
    ["a Job that completed in the meantime", { ...stop("cancelled"), completedAt: at }, [], { kind: "succeeded", endedAt: at }],
    [
      "cancelled, whatever else it was",
      { ...stop("cancelled"), ...failed() },
      [podViewOf({ ...terminated, containers: [ended(3)] })],
      { kind: "cancelled", reason: "cancelled on request", node: "node0", endedAt: "2026-01-01T00:00:20Z" },
    ],
    ["the Stop's class when it was the Stop that ended it", stop("image"), [podViewOf(terminated)], { class: "image" }],
    [
      "the Stop's class when nothing had started",
      stop("neverStarted"),
      [podViewOf({ containers: [waiting] })],
      { class: "neverStarted" },
    ],
    [
      "the Stop's class when there is no pod",
      stop("neverStarted"),
      [],
      { class: "neverStarted", endedAt: "2026-01-01T00:00:00Z" },
    ],
    [
      "an end that the kubelet made up for a container that never started is no evidence",
      stop("neverStarted"),
      [
        podViewOf({
          deletedAt: "2026-01-01T00:00:15Z",
          containers: [{ name: "main", terminated: { exitCode: 137, reason: "ContainerStatusUnknown", message: "" } }],
        }),
      ],
      { class: "neverStarted" },
    ],
    [
      "what a container did before the Stop reached it",
      stop("neverStarted"),
      [podViewOf({ deletedAt: "2026-01-01T00:00:30Z", containers: [ended(3)] })],
      { class: "exit", exitCode: 3, container: "main" },
    ],
    [
      "killed for memory before the Stop reached it",
      { ...stop("evicted"), memoryLimits: { main: "64Mi" } },
      [podViewOf({ deletedAt: "2026-01-01T00:00:30Z", containers: [ended(137, "OOMKilled")] })],
      { class: "oom", memoryLimit: "64Mi" },
    ],
    [
      "the Job's own failure in the meantime",
      { ...stop("evicted"), ...failed("DeadlineExceeded") },
      [podViewOf(terminated)],
      { class: "deadline" },
    ],
    [
      "the reason that the Stop left",
      { ...stop("image"), annotations: { "millrace.dev/stop-reason": "image nope cannot be pulled: not found" } },
      [podViewOf(terminated)],
      { class: "image", reason: "image nope cannot be pulled: not found" },
    ],
    [
      "J3: suspended by a person",
      { suspended: true },
      [podViewOf(terminated)],
      { class: "evicted", reason: "its Job was suspended", exitCode: 143 },
    ],
    ["J3: suspended with a text of nobody's", stop("whatever"), [podViewOf(terminated)], { class: "evicted" }],
  ];
  it.each(table)("%s", (_what, job, pods, verdict) => {
    expect(judgeStopped(jobViewOf(job), pods)).toMatchObject(verdict);
  });
});

it("J2: the exit code that the kubelet made up for a container that never started is in no verdict", () => {
  const made = { exitCode: 137, reason: "ContainerStatusUnknown", message: "The container could not be located" };
  const pod = podViewOf({ deletedAt: "2026-01-01T00:00:15Z", containers: [{ name: "main", terminated: made }] });
  expect(judgeStopped(jobViewOf({ suspended: true, stop: "containerConfig" }), [pod])).not.toHaveProperty("exitCode");
});
