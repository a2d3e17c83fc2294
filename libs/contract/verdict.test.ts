import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ContainerView, JobView, PodView } from "./observation.ts";
import { jobViewOf, podViewOf } from "./testing/records.ts";
import { judge } from "./verdict.ts";

const at = "2026-01-01T00:01:00Z";
const failed = (reason = "BackoffLimitExceeded"): Partial<JobView> => ({ failed: { at, reason, message: "" } });
const ended = (exitCode: number, reason = exitCode === 0 ? "Completed" : "Error", message = ""): ContainerView => ({
  name: "main",
  terminated: { exitCode, reason, message, startedAt: "2026-01-01T00:00:10Z", finishedAt: "2026-01-01T00:00:20Z" },
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
    ["OOMKilled", failed(), [podViewOf({ containers: [ended(137, "OOMKilled")] })], { class: "oom", exitCode: 137 }],
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
      { class: "exit", endedAt: at },
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
