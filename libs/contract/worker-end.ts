import type { LastWords } from "./last-words.ts";
import { CLOCKS_DIFFER_MS, disrupted, KILLED, SIGKILLED, TAINTED, UNSEEN } from "./verdict.ts";
import type { WorkClass, WorkEnd } from "./work-retry.ts";

/** The container of a worker's pod that is the worker; others are sidecars, which hold no messages. */
export const WORKER_CONTAINER = "worker";

/** How a process may end, as the monitor tells it. */
export const PROCESS_ENDS = ["oom", "exit", "timeout", "evicted", "preempted", "nodeLost", "lost"] as const satisfies WorkClass[];

export interface ContainerEnd {
  readonly exitCode: number;
  readonly reason: string;
  readonly startedAt?: string;
  readonly finishedAt?: string;
  /** It killed itself. */
  readonly lastWords?: LastWords;
}

/** What the monitor keeps of a worker's pod. Times are RFC 3339 in whole seconds, as its node wrote them. */
export interface WorkerPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly worker: string;
  readonly phase: string;
  readonly reason: string;
  readonly disruption?: string;
  readonly disruptedAt?: string;
  readonly deletedAt?: string;
  readonly memoryLimit?: string;
  /** `controller.kubernetes.io/pod-deletion-cost` as it stands on the pod. */
  readonly deletionCost?: string;
  /** When the process that runs now was started. */
  readonly runningSince?: string;
  /** How the container ended before and now, as far as the kubelet remembers, the oldest first. */
  readonly ends: readonly ContainerEnd[];
}

/** A process of this pod that holds a message. */
export interface HeldProcess {
  /** Of the claim. */
  readonly key: string;
  /** By its node's clock. */
  readonly bootedAtMs: number;
  /** It marked another message's claim: that handler did not end in time, and it was about to end itself. */
  readonly isOthersOverrun: boolean;
}

export interface ProcessEnd extends WorkEnd {
  /**
   * True: its node saw it end. False: it is taken for ended, and may live on where nobody sees it (a node without a network, a pod that was
   * deleted by force, a start and an end in the same second): then it may be acted on only when its heartbeat stays away, too.
   */
  readonly isSeen: boolean;
}

/** Kubernetes cuts times to whole seconds. */
const SECOND_MS = 1_000;
/** The runtime notes the start of a container when it has started: its process may have begun a little before, and in the second before. */
const STARTED_LATE_MS = 2_000;

/**
 * W1: how a process of this pod ended; undefined while it may live. A pod outlives its processes: its container is started anew after each end,
 * and what the new process holds is none of the old one's. `isGone`: the pod object was removed, and this is its last status.
 */
export function processEnd(pod: WorkerPod, isGone: boolean, process: HeldProcess): ProcessEnd | undefined {
  const isOver = isGone || pod.phase === "Failed" || pod.phase === "Succeeded";
  // Whether its end was seen; undefined: there may be none.
  const isSeen =
    pod.runningSince === undefined
      ? isSeenOnceStopped(pod, isOver, process)
      : isSeenWhileRunning(pod, Date.parse(pod.runningSince), isOver, process);
  return isSeen === undefined ? undefined : { ...causeOf(pod, process), isSeen };
}

/**
 * A process that began before the last end is not the one that runs: that end was its own, or a later one. When the container that runs was started
 * proves nothing, for that is told late, and by a clock that may have been set since: then the heartbeat decides.
 */
function isSeenWhileRunning(pod: WorkerPod, sinceMs: number, isOver: boolean, { bootedAtMs }: HeldProcess): boolean | undefined {
  const last = pod.ends.at(-1);
  // An end without a time was made up before what runs now began, and says nothing of when.
  const endedMs = last?.finishedAt === undefined ? Number.NEGATIVE_INFINITY : Date.parse(last.finishedAt);
  // The clock was set back when the end is later than the start that followed it.
  if (bootedAtMs < endedMs && endedMs <= sinceMs) return true;
  // Nobody's node says that it ended. J4: a node that is away does not.
  if (isOver || pod.disruption === TAINTED) return false;
  return bootedAtMs < sinceMs - STARTED_LATE_MS || bootedAtMs < endedMs + SECOND_MS ? false : undefined;
}

function isSeenOnceStopped(pod: WorkerPod, isOver: boolean, process: HeldProcess): boolean | undefined {
  const last = pod.ends.at(-1);
  const isEndedBefore = last !== undefined && process.bootedAtMs < finishedMs(last);
  // A pod that is being deleted starts nothing anew.
  const isFinal = isOver || pod.deletedAt !== undefined;
  if (isEndedBefore || (isFinal && isSameSecond(last, process))) return true;
  return isOver || isSameSecond(last, process) ? false : undefined;
}

/** The end that was last written down is told in whole seconds: who began in that second may be the one that ended, or the next. */
function isSameSecond(last: ContainerEnd | undefined, { bootedAtMs }: HeldProcess): boolean {
  return last !== undefined && bootedAtMs < finishedMs(last) + SECOND_MS;
}

/** What Kubernetes did to the pod goes before what the container says, unless that came first: whatever is killed ends somehow. */
function causeOf(pod: WorkerPod, process: HeldProcess): WorkEnd {
  const lives = livesOf(pod);
  const life = ownLife(lives, process);
  const end = life?.end;
  // What overran its time did so, whatever else is known.
  if (end?.lastWords?.overran.includes(process.key) === true) return OVERRAN;
  if (pod.reason === "Evicted" && life === lives.at(-1)) return { class: "evicted", reason: "the kubelet evicted the pod" };
  if (end === undefined || !endedBefore(end, interventionMs(pod, end))) {
    if (pod.disruption !== undefined) return disruptedCause(pod.disruption);
    if (pod.deletedAt !== undefined) return { class: "lost", reason: "its pod was deleted, as when it is scaled in" };
  }
  if (process.isOthersOverrun || end?.lastWords !== undefined) {
    return { class: "lost", reason: "its process ended itself because of another message, whose handler did not end" };
  }
  if (end === undefined) return { class: "lost", reason: "nobody saw its process end" };
  return containerCause(end, pod.memoryLimit);
}

const OVERRAN: WorkEnd = { class: "timeout", reason: "the handler did not end when its time was up; its process was killed" };

function disruptedCause(disruption: string): WorkEnd {
  const { class: found, reason } = disrupted(disruption);
  const known = PROCESS_ENDS.find((name) => name === found);
  return { class: known ?? "evicted", reason };
}

/** From one start of the container to its end, as its pod tells. */
interface Life {
  readonly startedMs: number | undefined;
  /** Undefined: it runs. */
  readonly end: ContainerEnd | undefined;
}

function livesOf({ ends, runningSince }: WorkerPod): Life[] {
  const lives: Life[] = ends.map((end) => ({
    startedMs: end.startedAt === undefined ? undefined : Date.parse(end.startedAt),
    end,
  }));
  if (runningSince !== undefined) lives.push({ startedMs: Date.parse(runningSince), end: undefined });
  return lives;
}

/**
 * A process begins with its container: of two that it may be of, when one was started anew within seconds, it is of the one whose start is nearer.
 * The kubelet remembers two ends: an older one was seen by nobody who is left.
 */
function ownLife(lives: readonly Life[], { bootedAtMs }: HeldProcess): Life | undefined {
  const possible = lives.filter(({ startedMs = Number.NEGATIVE_INFINITY, end }) => {
    const endedMs = end === undefined ? Number.POSITIVE_INFINITY : finishedMs(end) + SECOND_MS;
    return startedMs - STARTED_LATE_MS <= bootedAtMs && bootedAtMs < endedMs;
  });
  const [nearest] = possible.toSorted((one, other) => distanceMs(one, bootedAtMs) - distanceMs(other, bootedAtMs));
  return nearest;
}

/** 0 in the second of the start. Far away, when nobody knows it. */
function distanceMs({ startedMs }: Life, atMs: number): number {
  if (startedMs === undefined) return Number.MAX_VALUE;
  return Math.max(startedMs - atMs, 0, atMs - startedMs - SECOND_MS);
}

/** When somebody asked for the end of the pod; a kill that follows is told by another clock. */
function interventionMs({ deletedAt, disruptedAt }: WorkerPod, { exitCode }: ContainerEnd): number {
  const firstMs = Math.min(
    ...[deletedAt, disruptedAt].map((at) => (at === undefined ? Number.POSITIVE_INFINITY : Date.parse(at))),
  );
  return firstMs - (KILLED.has(exitCode) ? CLOCKS_DIFFER_MS : 0);
}

function endedBefore(end: ContainerEnd, atMs: number): boolean {
  return end.finishedAt !== undefined && finishedMs(end) < atMs;
}

function containerCause({ exitCode, reason }: ContainerEnd, memoryLimit: string | undefined): WorkEnd {
  if (UNSEEN.has(reason))
    return { class: "lost", reason: `nobody saw its process end, as when its node starts anew (${reason})` };
  if (reason === "OOMKilled") {
    return memoryLimit === undefined
      ? { class: "oom", reason: "its process was killed for lack of memory; it has no limit, so its node ran out of it" }
      : { class: "oom", reason: `its process was killed for using more memory than its limit of ${memoryLimit}` };
  }
  if (exitCode === SIGKILLED && memoryLimit !== undefined) {
    return {
      class: "oom",
      reason: `its process was killed, by nobody that is known; with its limit of ${memoryLimit} that is taken for lack of memory`,
    };
  }
  return { class: "exit", reason: `its process exited with code ${exitCode}` };
}

/** An end without a time is one that the kubelet made up later than all others. */
function finishedMs({ finishedAt }: ContainerEnd): number {
  return finishedAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(finishedAt);
}
