import type { V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import { parseLastWords } from "../contract/last-words.ts";
import { type Instance, LABEL } from "../contract/names.ts";
import { type ContainerEnd, WORKER_CONTAINER, type WorkerPod } from "../contract/worker-end.ts";
import type { KubeClient } from "./client.ts";
import { isNotFound, isOtherUid } from "./errors.ts";
import { podView, time } from "./views.ts";

/** Kubernetes removes the pods of a ReplicaSet with a low cost first; a pod without it costs 0. */
export const DELETION_COST = "controller.kubernetes.io/pod-deletion-cost";

/** N6: the pods of this installation's workers. */
export const workerSelector = (instance: Instance): string => `${LABEL.instance}=${instance},${LABEL.worker}`;

export const workerPodsPath = (namespace: string): string => `/api/v1/namespaces/${namespace}/pods`;

/** The pods of workers in the release's namespace. */
export class WorkerPodsApi {
  readonly #client: Pick<KubeClient, "json">;
  readonly #namespace: string;

  constructor(options: { readonly client: Pick<KubeClient, "json">; readonly namespace: string }) {
    this.#client = options.client;
    this.#namespace = options.namespace;
  }

  /** `undefined` removes the mark. False when that pod is gone: another one of its name is left alone. */
  async setDeletionCost(pod: Pick<WorkerPod, "name" | "uid">, cost: number | undefined): Promise<boolean> {
    const annotations = { [DELETION_COST]: cost === undefined ? null : String(cost) };
    try {
      await this.#client.json<unknown>({
        method: "PATCH",
        path: `${workerPodsPath(this.#namespace)}/${pod.name}`,
        body: { metadata: { uid: pod.uid, annotations } },
      });
      return true;
    } catch (error) {
      if (isNotFound(error) || isOtherUid(error)) return false;
      throw error;
    }
  }
}

export function workerPodView(pod: V1Pod): WorkerPod {
  const { namespace, name, uid, phase, reason, disruption, disruptedAt, deletedAt } = podView(pod);
  const status = pod.status?.containerStatuses?.find((container) => container.name === WORKER_CONTAINER);
  const limit = pod.spec?.containers.find((container) => container.name === WORKER_CONTAINER)?.resources?.limits?.["memory"];
  const cost = pod.metadata?.annotations?.[DELETION_COST];
  const runningSince = time(status?.state?.running?.startedAt);
  return {
    ...{ namespace, name, uid, phase, reason },
    worker: pod.metadata?.labels?.[LABEL.worker] ?? "",
    ends: ends(status),
    ...(disruption === undefined ? {} : { disruption }),
    ...(disruptedAt === undefined ? {} : { disruptedAt }),
    ...(deletedAt === undefined ? {} : { deletedAt }),
    ...(limit === undefined ? {} : { memoryLimit: String(limit) }),
    ...(cost === undefined ? {} : { deletionCost: cost }),
    ...(runningSince === undefined ? {} : { runningSince }),
  };
}

function ends(status: V1ContainerStatus | undefined): ContainerEnd[] {
  return [status?.lastState?.terminated, status?.state?.terminated].flatMap((terminated) => {
    if (terminated === undefined) return [];
    const startedAt = time(terminated.startedAt);
    const finishedAt = time(terminated.finishedAt);
    const lastWords = parseLastWords(terminated.message);
    return [
      {
        exitCode: terminated.exitCode,
        reason: terminated.reason ?? "",
        ...(startedAt === undefined ? {} : { startedAt }),
        ...(finishedAt === undefined ? {} : { finishedAt }),
        ...(lastWords === undefined ? {} : { lastWords }),
      },
    ];
  });
}
