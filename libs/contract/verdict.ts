import type { FailureClass } from "./failure-class.ts";
import type { ContainerView, JobView, PodView } from "./observation.ts";
import { mainContainer } from "./observation.ts";

interface Evidence {
  readonly node?: string;
  readonly startedAt?: string;
  readonly endedAt: string;
  readonly exitCode?: number;
}

export interface Succeeded extends Evidence {
  readonly kind: "succeeded";
  /** The main container's termination message, ≤ 4 KiB (the kubelet's own limit). */
  readonly result?: string;
}

export interface Failed extends Evidence {
  readonly kind: "failed";
  readonly class: FailureClass;
  readonly reason: string;
  /** The container whose end decided, when one did. */
  readonly container?: string;
  /** Of the container that was killed for memory, as its Job's pod template says; a retry gets more than this. */
  readonly memoryLimit?: string;
}

/** Stopped because somebody asked for it (rule P1), and it had not succeeded before. */
export interface Cancelled extends Evidence {
  readonly kind: "cancelled";
  readonly reason: string;
}

export type Ended = Succeeded | Failed | Cancelled;
export type Verdict = { readonly kind: "live" } | Ended;

/** Reasons of `DisruptionTarget` (KEP-3329); every one of them is nobody's fault. */
const DISRUPTION_CLASS: Readonly<Record<string, FailureClass>> = {
  PreemptionByScheduler: "preempted",
  DeletionByTaintManager: "nodeLost",
  DeletionByPodGC: "nodeLost",
  EvictionByEvictionAPI: "evicted",
  TerminationByKubelet: "evicted",
};

/** The runtime could not start the process. Whose fault that is, only its message tells. */
const START_FAILURES = new Set(["StartError", "ContainerCannotRun"]);

/**
 * What runc says when the image has no such program or may not run it: another attempt would end the same way. Anything else is the node's
 * trouble: a kubelet that was killed while it started a container leaves `StartError … context canceled`.
 */
const IMAGE_CANNOT_RUN =
  /executable file not found|no such file or directory|permission denied|exec format error|not a directory|is a directory/i;

/**
 * J1: how an attempt ended, from the statuses of its Job and pod, never from Events and never on `FailureTarget` (pods may still run then).
 * `pods` holds the last status seen of each pod of this Job, also of those that are gone.
 */
export function judge(job: JobView, pods: readonly PodView[]): Verdict {
  const pod = decisivePod(pods);
  const main = pod === undefined ? undefined : mainContainer(pod);
  if (job.completedAt !== undefined) {
    const message = main?.terminated?.message;
    return { kind: "succeeded", ...evidence(pod, main, job.completedAt), ...(message ? { result: message } : {}) };
  }
  if (job.failed === undefined) return { kind: "live" };
  return { kind: "failed", ...evidence(pod, main, job.failed.at), ...failure(job.failed, pod) };
}

/** The newest pod that started, else the newest: a Job of ours makes one pod, more only after a disruption. */
function decisivePod(pods: readonly PodView[]): PodView | undefined {
  const newestFirst = [...pods].sort((a, b) => b.createdAt.localeCompare(a.createdAt));
  return newestFirst.find(hasStarted) ?? newestFirst[0];
}

function hasStarted(pod: PodView): boolean {
  return pod.containers.some((container) => startOf(container) !== undefined);
}

export function startOf(container: ContainerView): string | undefined {
  return container.startedAt ?? container.terminated?.startedAt;
}

function evidence(pod: PodView | undefined, main: ContainerView | undefined, endedAt: string): Evidence {
  const startedAt = main === undefined ? undefined : startOf(main);
  return {
    endedAt: main?.terminated?.finishedAt ?? endedAt,
    ...(pod?.node === undefined ? {} : { node: pod.node }),
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(main?.terminated === undefined ? {} : { exitCode: main.terminated.exitCode }),
  };
}

function failure(jobFailed: NonNullable<JobView["failed"]>, pod: PodView | undefined): Pick<Failed, "class" | "reason"> {
  if (jobFailed.reason === "DeadlineExceeded") {
    return pod !== undefined && hasStarted(pod)
      ? { class: "deadline", reason: "ran longer than its deadline" }
      : { class: "neverStarted", reason: "no container had started when its deadline passed" };
  }
  if (pod === undefined) return { class: "lost", reason: `the Job failed without a pod: ${jobFailed.reason}` };
  if (pod.disruption !== undefined) {
    return { class: DISRUPTION_CLASS[pod.disruption] ?? "evicted", reason: `the pod was disrupted: ${pod.disruption}` };
  }
  if (pod.reason === "DeadlineExceeded") return { class: "deadline", reason: "ran longer than its deadline" };
  if (pod.reason === "Evicted") return { class: "evicted", reason: "the kubelet evicted the pod" };
  const ended = pod.containers.find((container) => container.terminated !== undefined && container.terminated.exitCode !== 0);
  if (ended?.terminated === undefined) return { class: "lost", reason: `no container's end was seen: ${jobFailed.reason}` };
  const { exitCode, reason, message } = ended.terminated;
  if (reason === "OOMKilled")
    return { class: "oom", reason: `container ${ended.name} was killed for using more memory than its limit` };
  if (START_FAILURES.has(reason)) {
    return IMAGE_CANNOT_RUN.test(message)
      ? { class: "containerConfig", reason: `container ${ended.name} could not be started: its image cannot run its command` }
      : { class: "neverStarted", reason: `container ${ended.name} was not started by its node: ${reason}` };
  }
  return { class: "exit", reason: `container ${ended.name} exited with code ${exitCode}` };
}
