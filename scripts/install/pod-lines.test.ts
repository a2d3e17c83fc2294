import { describe, expect, it } from "vitest";
import { isFailing, isWell, podLine, podSchema } from "./pod-lines.ts";

const container = (status: object): object => ({ name: "main", ready: false, restartCount: 0, ...status });
const pod = (status: object, metadata: object = {}) => podSchema.parse({ metadata: { name: "p", ...metadata }, status });

describe("a pod that is well", () => {
  it("is ready, or has done its work", () => {
    const ready = pod({ phase: "Running", containerStatuses: [container({ ready: true })] });
    expect(isWell(ready)).toBe(true);
    expect(podLine(ready)).toMatch(/^p +ready, 0 restarts$/);
    expect(isWell(pod({ phase: "Succeeded", containerStatuses: [container({})] }))).toBe(true);
  });
});

describe("a pod that is not", () => {
  it.each([
    [
      "waits for its image",
      {
        phase: "Pending",
        containerStatuses: [
          container({ state: { waiting: { reason: "ImagePullBackOff", message: "Back-off pulling image x" } } }),
        ],
      },
      /ImagePullBackOff: Back-off pulling image x, 0 restarts$/,
    ],
    [
      "crashes: what killed its last life",
      {
        phase: "Running",
        containerStatuses: [
          container({
            restartCount: 4,
            state: { waiting: { reason: "CrashLoopBackOff", message: "back-off 40s" } },
            lastState: { terminated: { reason: "OOMKilled", exitCode: 137 } },
          }),
        ],
      },
      /CrashLoopBackOff: back-off 40s, 4 restarts, last one: OOMKilled \(exit code 137\)$/,
    ],
    [
      "cannot be scheduled",
      {
        phase: "Pending",
        conditions: [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message: "0/2 nodes are\n available" }],
      },
      /Unschedulable: 0\/2 nodes are available, 0 restarts$/,
    ],
    [
      "waits for a failing init container, not for its own",
      {
        phase: "Pending",
        initContainerStatuses: [container({ name: "init", state: { waiting: { reason: "CrashLoopBackOff" } } })],
        containerStatuses: [container({ state: { waiting: { reason: "PodInitializing" } } })],
      },
      /CrashLoopBackOff, 0 restarts$/,
    ],
    [
      "runs and fails its probe, with an init container that ended well",
      {
        phase: "Running",
        initContainerStatuses: [container({ name: "init", state: { terminated: { exitCode: 0, reason: "Completed" } } })],
        containerStatuses: [container({})],
      },
      /readiness probe/,
    ],
    [
      "was evicted",
      { phase: "Failed", reason: "Evicted", message: "The node was low on memory." },
      /Evicted: The node was low on memory\./,
    ],
  ])("%s", (_, status, line) => {
    expect(isWell(pod(status))).toBe(false);
    expect(podLine(pod(status))).toMatch(line);
  });

  it("was ready when its node was lost", () => {
    const lost = pod({
      phase: "Running",
      conditions: [{ type: "Ready", status: "False" }],
      containerStatuses: [container({ ready: true })],
    });
    expect(isWell(lost)).toBe(false);
    expect(podLine(lost)).toMatch(/not ready: its node does not answer any more, 0 restarts$/);
  });

  it("is being deleted", () => {
    const leaving = pod(
      { phase: "Running", containerStatuses: [container({ ready: true })] },
      { deletionTimestamp: "2026-01-01T00:00:00Z" },
    );
    expect(isWell(leaving)).toBe(false);
    expect(podLine(leaving)).toMatch(/being deleted/);
  });
});

describe("a worker's pod", () => {
  const starting = { state: { waiting: { reason: "ContainerCreating" } } };
  it.each([
    ["is about to start", { phase: "Pending", containerStatuses: [container(starting)] }, {}, false],
    ["has no status yet", { phase: "Pending" }, {}, false],
    [
      "is being deleted",
      { phase: "Running", containerStatuses: [container({ restartCount: 2 })] },
      { deletionTimestamp: "t" },
      false,
    ],
    ["cannot get its image", { containerStatuses: [container({ state: { waiting: { reason: "ErrImagePull" } } })] }, {}, true],
    ["was started again and is not ready", { phase: "Running", containerStatuses: [container({ restartCount: 1 })] }, {}, true],
    ["was evicted", { phase: "Failed" }, {}, true],
  ])("%s", (_what, status, metadata, failing) => {
    expect(isFailing(pod(status, metadata))).toBe(failing);
  });
});
