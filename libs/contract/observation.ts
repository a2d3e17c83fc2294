/**
 * What the engine keeps of a Job and its pods: a projection of a few hundred bytes instead of the objects (a cached pod costs 7–17 KB,
 * `docs/decisions`), and plain data, so that every verdict can be tested without a cluster. Times are RFC 3339 as the API server wrote them.
 */
export interface JobView {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly createdAt: string;
  readonly completedAt?: string;
  readonly failed?: { readonly at: string; readonly reason: string; readonly message: string };
  /** Will fail once its pods have ended: never a verdict of its own (rule J1). */
  readonly failureTarget?: { readonly at: string; readonly reason: string };
  /** How many pods its controller has counted, whatever became of them; undefined: it has not come to the Job. */
  readonly podCount?: number;
  readonly deleting: boolean;
  readonly suspended: boolean;
  /** The class that a Stop wrote on it (rule J2). */
  readonly stop?: string;
  /** By container, init containers too, as written in the pod template; a container without a limit is not in it. */
  readonly memoryLimits: Readonly<Record<string, string>>;
}

export interface ContainerView {
  readonly name: string;
  /** A sidecar is an init container that is restarted for ever; without a role it is one of the pod's own containers. */
  readonly role?: "init" | "sidecar";
  readonly startedAt?: string;
  readonly terminated?: {
    readonly exitCode: number;
    readonly reason: string;
    readonly message: string;
    readonly startedAt?: string;
    readonly finishedAt?: string;
  };
  readonly waiting?: { readonly reason: string; readonly message: string };
}

export interface PodView {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly jobUid: string;
  readonly node?: string;
  readonly phase: string;
  readonly reason: string;
  /** Reason of the `DisruptionTarget` condition (KEP-3329), when it is true. */
  readonly disruption?: string;
  readonly disruptedAt?: string;
  readonly createdAt: string;
  /** When somebody asked for its deletion; its containers may run for the grace period after that. */
  readonly deletedAt?: string;
  /** No node fits, and what the scheduler says of each. */
  readonly unschedulable?: { readonly since: string; readonly message: string };
  readonly containers: readonly ContainerView[];
}

/**
 * A later status of the same pod. When its deletion was first asked for stays: the kubelet's own delete, once all containers have ended, moves
 * the time that the object shows to then, and they would seem to have ended before.
 */
export function laterPod(before: PodView | undefined, after: PodView): PodView {
  const { deletedAt } = before ?? {};
  return deletedAt === undefined || after.deletedAt === undefined || after.deletedAt <= deletedAt
    ? after
    : { ...after, deletedAt };
}

/** Nothing of it runs and nothing of it will. */
export function podEnded(pod: PodView): boolean {
  return pod.phase === "Succeeded" || pod.phase === "Failed";
}

/** The container whose termination message is the attempt's result. */
export const MAIN_CONTAINER = "main";

export function mainContainer(pod: PodView): ContainerView | undefined {
  return pod.containers.find((container) => container.name === MAIN_CONTAINER) ?? pod.containers[0];
}
