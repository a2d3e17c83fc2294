import type { JobView, PodView } from "../observation.ts";
import type { JobRecord, JobState } from "../record.ts";
import { transition } from "../transition.ts";

export const SOURCE = { stream: "JOBS", seq: 5, storedAt: "1758000000000000005" } as const;
export const JOB = { namespace: "jobs", name: "hello-h-a1", uid: "uid-1" } as const;

/** A record as the engine makes one, in the given state; the rest can be overridden. */
export function recordIn(state: JobState, rest: Partial<JobRecord> = {}): JobRecord {
  const moved = transition(undefined, {
    kind: "firstSight",
    id: "a",
    hash: "h".repeat(20),
    queue: "default",
    type: "hello",
    messageHash: "m1",
    source: SOURCE,
    attempt: 1,
    life: 1,
    job: JOB,
    at: "2026-01-01T00:00:00Z",
  });
  if (moved.kind !== "moved") throw new Error("the first sight of a new Job was refused");
  return { ...moved.record, state, ...rest };
}

export function jobViewOf(rest: Partial<JobView> = {}): JobView {
  return {
    ...JOB,
    labels: {},
    annotations: {},
    createdAt: "2026-01-01T00:00:00Z",
    deleting: false,
    suspended: false,
    memoryLimits: {},
    ...rest,
  };
}

export function podViewOf(rest: Partial<PodView> = {}): PodView {
  return {
    namespace: "jobs",
    name: "pod",
    uid: "pod-1",
    jobUid: JOB.uid,
    node: "node0",
    phase: "Failed",
    reason: "",
    createdAt: "2026-01-01T00:00:00Z",
    containers: [],
    ...rest,
  };
}
