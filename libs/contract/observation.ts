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
  readonly deleting: boolean;
}

export interface ContainerView {
  readonly name: string;
  readonly startedAt?: string;
  readonly terminated?: {
    readonly exitCode: number;
    readonly reason: string;
    readonly message: string;
    readonly startedAt?: string;
    readonly finishedAt?: string;
  };
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
  readonly createdAt: string;
  readonly containers: readonly ContainerView[];
}

/** The container whose termination message is the attempt's result. */
export const MAIN_CONTAINER = "main";

export function mainContainer(pod: PodView): ContainerView | undefined {
  return pod.containers.find((container) => container.name === MAIN_CONTAINER) ?? pod.containers[0];
}
