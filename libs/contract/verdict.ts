import { FAILURE_CLASSES, type FailureClass } from "./failure-class.ts";
import { ANNOTATION } from "./names.ts";
import type { ContainerView, JobView, PodView } from "./observation.ts";
import { mainContainer } from "./observation.ts";
import type { QueueConfig } from "./queue-config.ts";

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
  /** The class is what the evidence is taken for, not what it says. */
  readonly presumed?: true;
}

/** Stopped because somebody asked for it (rule P1), and it had not succeeded before. */
export interface Cancelled extends Evidence {
  readonly kind: "cancelled";
  readonly reason: string;
}

export type Ended = Succeeded | Failed | Cancelled;
export type Verdict = { readonly kind: "live" } | Ended;

/** What failed and why: a `Failed` without the times. */
type Cause = Pick<Failed, "class" | "reason" | "container" | "memoryLimit" | "presumed" | "exitCode">;

/** Reasons of `DisruptionTarget` (KEP-3329, Kubernetes 1.36); every one of them is nobody's fault. */
const DISRUPTION: Readonly<Record<string, { readonly class: FailureClass; readonly what: string }>> = {
  PreemptionByScheduler: { class: "preempted", what: "its node was given to a pod of higher priority" },
  DeletionByTaintManager: { class: "nodeLost", what: "its node became unreachable or was tainted" },
  DeletionByPodGC: { class: "nodeLost", what: "its node is gone" },
  EvictionByEvictionAPI: { class: "evicted", what: "its pod was evicted, as when a node is drained" },
  TerminationByKubelet: { class: "evicted", what: "its node ended the pod for lack of resources or to shut down" },
};

/** Set when a node's taints throw the pod out, which a dead node's `unreachable` does. */
export const TAINTED = "DeletionByTaintManager";

/** The runtime could not start the process. Whose fault that is, only its message tells. */
const START_FAILURES = new Set(["StartError", "ContainerCannotRun"]);

/**
 * What runc says when the image has no such program or may not run it: another attempt would end the same way. Anything else is the node's
 * trouble: a kubelet that was killed while it started a container leaves `StartError … context canceled`.
 */
const IMAGE_CANNOT_RUN =
  /executable file not found|no such file or directory|permission denied|exec format error|not a directory|is a directory/i;

/**
 * Nobody saw how the container ended, and the exit code is made up: the kubelet's word, with 137, also for a container that never started; and
 * containerd's, with 255, for what ran when its node lost its power.
 */
export const UNSEEN = new Set(["ContainerStatusUnknown", "Unknown"]);

/**
 * 128 + SIGKILL. Whatever Kubernetes kills for a reason of its own is told from the pod before the container is asked. What is left is the kernel:
 * containerd says `Error` instead of `OOMKilled` when the container ends before the kernel's word of it arrives (seen in one of eight).
 */
export const SIGKILLED = 137;
/** SIGKILL and SIGTERM: how a container ends whose pod is deleted. */
export const KILLED = new Set([SIGKILLED, 143]);

/** A container's end is told by its node's clock, the delete request by the API server's, both in whole seconds. */
export const CLOCKS_DIFFER_MS = 2_000;

/** For a Stop that left no reason of its own. */
const STOP_REASON: Readonly<Record<string, string>> = {
  neverStarted: "no container of it had started in time",
  image: "its image could not be pulled",
  containerConfig: "its containers could not be made as they are configured",
};

const DEADLINE = { class: "deadline", reason: "ran longer than its deadline" } as const;

/**
 * J1: how an attempt ended, from the statuses of its Job and pod, never from Events and never on `FailureTarget` (pods may still run then),
 * but for rule J4. `pods` holds the last status seen of each pod of this Job, also of those that are gone.
 */
export function judge(job: JobView, pods: readonly PodView[], options: Partial<Pick<QueueConfig, "nodeLoss">> = {}): Verdict {
  const pod = decisivePod(pods);
  if (job.completedAt !== undefined) return succeeded(pod, job.completedAt);
  // P1: what ends in another way while it is being cancelled would else be tried again.
  if (job.failed !== undefined)
    return cancelled(job, pod, job.failed.at) ?? failed(pod, job.failed.at, causeOf(job, job.failed.reason, pod));
  if (options.nodeLoss === "fast" && pod !== undefined && isNodeLost(pod)) {
    const lostAt = job.failureTarget?.at ?? pod.disruptedAt ?? pod.deletedAt ?? pod.createdAt;
    return cancelled(job, pod, lostAt) ?? failed(pod, lostAt, disrupted(TAINTED));
  }
  return { kind: "live" };
}

/**
 * J2: how a stopped attempt ended; to be asked only when no pod of it is left that has not ended. A success wins, then what a container did
 * before the Stop reached it; all else is the Stop's own class. J3: a Stop that names none is a person's `suspend`, an eviction.
 */
export function judgeStopped(job: JobView, pods: readonly PodView[]): Ended {
  const done = pods.find(hasSucceeded);
  const pod = done ?? decisivePod(pods);
  const endedAt = job.completedAt ?? job.failed?.at ?? pod?.deletedAt ?? pod?.createdAt ?? job.createdAt;
  if (done !== undefined || job.completedAt !== undefined) return succeeded(pod, endedAt);
  const asked = cancelled(job, pod, endedAt);
  if (asked !== undefined) return asked;
  const stop = FAILURE_CLASSES.find((name) => name === job.stop) ?? "evicted";
  const why = job.annotations[ANNOTATION.stopReason];
  if (job.failed !== undefined) return failed(pod, endedAt, causeOf(job, job.failed.reason, pod));
  const container = pod === undefined ? undefined : failedContainer(pod);
  if (pod !== undefined && container?.terminated !== undefined && !wasDeletedFirst(pod, container.terminated)) {
    return failed(pod, endedAt, containerCause(job, container.name, container.terminated));
  }
  return failed(pod, endedAt, { class: stop, reason: why ?? STOP_REASON[job.stop ?? ""] ?? "its Job was suspended" });
}

function succeeded(pod: PodView | undefined, endedAt: string): Succeeded {
  const result = pod === undefined ? undefined : mainContainer(pod)?.terminated?.message;
  return { kind: "succeeded", ...evidence(pod, endedAt), ...(result ? { result } : {}) };
}

/** Undefined when nobody asked for it. */
function cancelled(job: JobView, pod: PodView | undefined, endedAt: string): Cancelled | undefined {
  if (job.stop !== "cancelled") return undefined;
  const reason = job.annotations[ANNOTATION.stopReason] ?? "cancelled on request";
  return { kind: "cancelled", ...evidence(pod, endedAt), reason };
}

function failed(pod: PodView | undefined, endedAt: string, cause: Cause): Failed {
  return { kind: "failed", ...evidence(pod, endedAt), ...cause };
}

/** The newest pod that started, else the newest: a Job of ours makes one pod, more only after a disruption. */
function decisivePod(pods: readonly PodView[]): PodView | undefined {
  const newestFirst = [...pods].sort((a, b) => b.createdAt.localeCompare(a.createdAt));
  return newestFirst.find(hasStarted) ?? newestFirst[0];
}

function hasStarted(pod: PodView): boolean {
  return pod.containers.some((container) => startOf(container) !== undefined);
}

function hasSucceeded(pod: PodView): boolean {
  return pod.phase === "Succeeded" || mainExitCode(pod) === 0;
}

function mainExitCode(pod: PodView): number | undefined {
  const main = mainContainer(pod);
  return main?.role === undefined ? main?.terminated?.exitCode : undefined;
}

/** J4. What is already done on a lost node is no loss: its Job completes. */
function isNodeLost(pod: PodView): boolean {
  return pod.disruption === TAINTED && !hasSucceeded(pod);
}

export function startOf(container: ContainerView): string | undefined {
  return container.startedAt ?? container.terminated?.startedAt;
}

function evidence(pod: PodView | undefined, endedAt: string): Evidence {
  const main = pod === undefined ? undefined : mainContainer(pod);
  const startedAt = main === undefined ? undefined : startOf(main);
  return {
    endedAt: main?.terminated?.finishedAt ?? endedAt,
    ...(pod?.node === undefined ? {} : { node: pod.node }),
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(main?.terminated === undefined || UNSEEN.has(main.terminated.reason) ? {} : { exitCode: main.terminated.exitCode }),
  };
}

/** What Kubernetes says that it did goes before what containers say: whatever it kills ends somehow, perhaps `OOMKilled`. */
function causeOf(job: JobView, jobReason: string, pod: PodView | undefined): Cause {
  if (jobReason === "DeadlineExceeded") {
    return pod !== undefined && hasStarted(pod)
      ? DEADLINE
      : { class: "neverStarted", reason: "no container had started when its deadline passed" };
  }
  if (pod === undefined) return { class: "lost", reason: `the Job failed without a pod: ${jobReason}` };
  if (pod.disruption !== undefined) return disrupted(pod.disruption);
  if (pod.reason === "DeadlineExceeded") return DEADLINE;
  if (pod.reason === "Evicted") return { class: "evicted", reason: "the kubelet evicted the pod" };
  const container = failedContainer(pod);
  if (pod.deletedAt !== undefined && (container === undefined || wasDeletedFirst(pod, container.terminated))) {
    return { class: "lost", reason: "somebody deleted its pod before it had ended" };
  }
  if (container === undefined) return { class: "lost", reason: `no container's end was seen: ${jobReason}` };
  return containerCause(job, container.name, container.terminated);
}

type Termination = NonNullable<ContainerView["terminated"]>;
type FailedContainer = ContainerView & { readonly terminated: Termination };

/**
 * The container whose failure came first, because the others may have failed for the lack of it. Sidecars are restarted and terminated by
 * the kubelet without failing the pod, so they are asked last.
 */
function failedContainer(pod: PodView): FailedContainer | undefined {
  const failures = pod.containers.filter(
    (container): container is FailedContainer => container.terminated !== undefined && container.terminated.exitCode !== 0,
  );
  const ended = ({ terminated }: FailedContainer): number => timeMs(terminated.finishedAt) ?? Number.MAX_SAFE_INTEGER;
  const sidecar = ({ role }: FailedContainer): number => (role === "sidecar" ? 1 : 0);
  return failures.sort((a, b) => sidecar(a) - sidecar(b) || ended(a) - ended(b))[0];
}

/** Its pod was being deleted when it ended; an end without a time is one that the kubelet did not see. */
function wasDeletedFirst(pod: PodView, { exitCode, finishedAt }: Termination): boolean {
  const deletedMs = timeMs(pod.deletedAt);
  if (deletedMs === undefined) return false;
  const finishedMs = timeMs(finishedAt);
  return finishedMs === undefined || finishedMs >= deletedMs - (KILLED.has(exitCode) ? CLOCKS_DIFFER_MS : 0);
}

function timeMs(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Date.parse(text);
}

export function disrupted(reason: string): Pick<Failed, "class" | "reason"> {
  const known = DISRUPTION[reason];
  return { class: known?.class ?? "evicted", reason: `${known?.what ?? "its pod was disrupted"} (${reason})` };
}

function containerCause(job: JobView, name: string, { exitCode, reason, message }: Termination): Cause {
  if (UNSEEN.has(reason)) {
    return {
      class: "lost",
      reason: `nobody saw container ${name} end, as when its node starts anew (${reason})`,
      container: name,
    };
  }
  const what = { container: name, exitCode };
  if (reason === "OOMKilled") {
    const limit = job.memoryLimits[name];
    return limit === undefined
      ? {
          class: "oom",
          reason: `container ${name} was killed for lack of memory; it has no limit, so its node ran out of it`,
          ...what,
        }
      : {
          class: "oom",
          reason: `container ${name} was killed for using more memory than its limit of ${limit}`,
          ...what,
          memoryLimit: limit,
        };
  }
  const limit = job.memoryLimits[name];
  if (exitCode === SIGKILLED && reason === "Error" && limit !== undefined) {
    return {
      class: "oom",
      reason: `container ${name} was killed, by nobody that is known; with its limit of ${limit} that is taken for lack of memory`,
      ...what,
      memoryLimit: limit,
      presumed: true,
    };
  }
  if (START_FAILURES.has(reason)) {
    return IMAGE_CANNOT_RUN.test(message)
      ? { class: "containerConfig", reason: `container ${name} could not be started: its image cannot run its command`, ...what }
      : { class: "neverStarted", reason: `container ${name} was not started by its node: ${reason}`, ...what };
  }
  return { class: "exit", reason: `container ${name} exited with code ${exitCode}`, ...what };
}
