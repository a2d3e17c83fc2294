import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import type { JobView, PodView } from "../../libs/contract/observation.ts";
import { JOB, jobViewOf, podViewOf } from "../../libs/contract/testing/records.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { AttemptJudge } from "./attempt-judge.ts";
import { LogKeeper } from "./log-keeper.ts";

const DELETED = { phase: "Running", deletedAt: "2026-01-01T00:00:05Z" } as const;
const CREATING = { ...DELETED, containers: [{ name: "main", waiting: { reason: "ContainerCreating", message: "" } }] };
const RUNNING = { ...DELETED, containers: [{ name: "main", startedAt: "2026-01-01T00:00:09Z" }] };

const IDENTITY = {
  id: "a",
  hash: "h".repeat(20),
  queue: "default",
  type: "hello",
  attempt: 1,
  life: 1,
  messageHash: "m1",
  source: { stream: "JOBS", seq: 5, storedAt: "1758000000000000005" },
  ack: "ack",
  keepSeconds: undefined,
  attempts: undefined,
};

/** A Job whose container says so, and what is kept of that. */
function bench(said: string, env: readonly { name: string; value: string }[] = []) {
  const job: V1Job = {
    metadata: { ...JOB },
    spec: { template: { spec: { containers: [{ name: "main", env: [...env] }] } } },
  };
  const world = { job: job as V1Job | undefined, pods: [] as V1Pod[], said: said as string | undefined, gets: 0, lists: 0 };
  const kept = new Map<string, string>();
  let reads = 0;
  const jobs = {
    get: async () => {
      world.gets += 1;
      return world.job;
    },
    pods: async () => {
      world.lists += 1;
      return world.pods;
    },
    suspend: async () => true,
    deletePods: async () => 0,
    podLog: async () => {
      reads += 1;
      return world.said;
    },
  };
  const tails = { put: async (hash: string, attempt: number, text: string) => void kept.set(`${hash}.${attempt}`, text) };
  const judge = new AttemptJudge({
    jobs,
    namespaces: { isGone: async () => false, isLeaving: async () => false },
    logs: new LogKeeper({ jobs, tails, log: silentLog }),
    nowMs: () => Date.parse("2026-01-01T00:00:10Z"),
  });
  const see = (pod: Partial<PodView>, seen: Partial<JobView> = {}) =>
    judge.judge({ job: jobViewOf(seen), pods: [podViewOf(pod)], gone: false }, IDENTITY, undefined);
  return { world, see, kept: () => [...kept.values()], reads: () => reads };
}

describe("J2: the log of an attempt whose pod is being deleted", () => {
  it("is kept once", async () => {
    const { see, kept, reads } = bench("at work\n");
    await see(RUNNING);
    await see(RUNNING);
    expect(kept()).toEqual(["at work\n"]);
    expect(reads()).toBe(1);
  });

  it("is kept when the container began only after that", async () => {
    const { see, kept } = bench("at work\n");
    await see(CREATING);
    expect(kept()).toEqual([]);
    await see(RUNNING);
    expect(kept()).toEqual(["at work\n"]);
  });

  it.each([undefined, ""])("is kept when it was first read as %j", async (nothing) => {
    const { world, see, kept } = bench("at work\n");
    world.said = nothing;
    await see(RUNNING);
    world.said = "at work\n";
    await see(RUNNING);
    expect(kept()).toEqual(["at work\n"]);
  });

  it("is kept without the secrets of its env, and not at all when nobody can tell them any more", async () => {
    const env = [{ name: "API_TOKEN", value: "s3cr3t" }];
    const { see, kept } = bench("token s3cr3t\n", env);
    await see(RUNNING);
    expect(kept()).toEqual(["token [redacted API_TOKEN]\n"]);

    const without = bench("token s3cr3t\n", env);
    without.world.job = undefined;
    await without.see(RUNNING);
    expect(without.kept()).toEqual([]);
  });
});

it("lost: a container that ended itself because its pod was deleted did not fail, though the pod shows a later deletion", async () => {
  const { world, see } = bench("");
  const end = { exitCode: 1, reason: "Error", finishedAt: "2026-01-01T00:00:08Z" };
  // As the API server shows them after the kubelet's last delete; the clients' types have dates.
  const listed: unknown = {
    metadata: { name: "pod", uid: "pod-1", deletionTimestamp: "2026-01-01T00:00:11Z", deletionGracePeriodSeconds: 0 },
    status: { phase: "Failed", containerStatuses: [{ name: "main", state: { terminated: end } }] },
  };
  const failed: unknown = {
    type: "Failed",
    status: "True",
    reason: "BackoffLimitExceeded",
    lastTransitionTime: "2026-01-01T00:00:12Z",
  };
  world.pods = [listed as V1Pod];
  Object.assign(world.job ?? {}, { status: { conditions: [failed] } });
  const over = { failed: { at: "2026-01-01T00:00:12Z", reason: "BackoffLimitExceeded", message: "" } };
  expect(await see(RUNNING, over)).toMatchObject({ kind: "ended", verdict: { kind: "failed", class: "lost" } });
});

describe("J1: a success is the Job's last word", () => {
  const over = { completedAt: "2026-01-01T00:00:09Z" };
  const said = (message: string) => ({ exitCode: 0, reason: "Completed", message });

  it("the API server is asked nothing when the watch has shown how its pod ended", async () => {
    const { world, see } = bench("");
    const pod = { phase: "Succeeded", containers: [{ name: "main", terminated: said("42") }] };
    expect(await see(pod, over)).toMatchObject({ kind: "ended", stopped: false, verdict: { kind: "succeeded", result: "42" } });
    expect(world).toMatchObject({ gets: 0, lists: 0 });
  });

  it("its pod is asked for when the watch is behind, for its result", async () => {
    const { world, see } = bench("");
    const listed: unknown = {
      metadata: { name: "pod", uid: "pod-1" },
      status: { phase: "Succeeded", containerStatuses: [{ name: "main", state: { terminated: said("42") } }] },
    };
    world.pods = [listed as V1Pod];
    expect(await see({ phase: "Running" }, over)).toMatchObject({ kind: "ended", verdict: { kind: "succeeded", result: "42" } });
    expect(world).toMatchObject({ gets: 0, lists: 1 });
  });
});
