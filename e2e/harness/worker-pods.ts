import { join } from "node:path";
import type { V1Pod } from "@kubernetes/client-node";
import type { KubeClient } from "../../libs/kube/client.ts";
import { Watch } from "../../libs/kube/watch.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import type { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { command } from "../../scripts/cluster/command.ts";

const WAIT_MS = 120_000;
const WORKER_LABEL = "millrace.dev/worker";
const DELETION_COST = "controller.kubernetes.io/pod-deletion-cost";

export interface WorkerPod {
  readonly uid: string;
  readonly name: string;
  readonly worker: string;
  readonly node: string;
  readonly ready: boolean;
  readonly isLeaving: boolean;
  readonly restarts: number;
  readonly containerId: string;
  /** Of the container's last life: `OOMKilled`, `Error`, … */
  readonly lastEnd: string | undefined;
  /** What its deletion costs by its annotation. */
  readonly cost: number;
}

interface WorkerPodsOptions {
  readonly kube: KubeClient;
  readonly cluster: LocalCluster;
  readonly namespace: string;
}

/** The pods of the workers of one release. */
export class WorkerPods implements AsyncDisposable {
  readonly #watch: Watch<WorkerPod>;
  readonly #cluster: LocalCluster;
  readonly #listeners = new Set<() => void>();

  private constructor(options: WorkerPodsOptions) {
    this.#cluster = options.cluster;
    this.#watch = new Watch<WorkerPod>({
      client: options.kube,
      path: `/api/v1/namespaces/${options.namespace}/pods`,
      selector: { labelSelector: WORKER_LABEL },
      project: (object) => workerPod(object as V1Pod),
      onChange: () => this.#changed(),
      log: silentLog,
    });
  }

  static async open(options: WorkerPodsOptions): Promise<WorkerPods> {
    const pods = new WorkerPods(options);
    await pods.#watch.start();
    return pods;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#watch.stop();
  }

  /** Those that are about to go, too. */
  of(worker: string): WorkerPod[] {
    return [...this.#watch.values()].filter((pod) => pod.worker === worker);
  }

  named(name: string): WorkerPod {
    const found = [...this.#watch.values()].find((pod) => pod.name === name);
    if (found === undefined) throw new Error(`no pod ${name}`);
    return found;
  }

  async waitFor(
    what: string,
    worker: string,
    holds: (pods: readonly WorkerPod[]) => boolean,
    timeoutMs = WAIT_MS,
  ): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = (): void => {
      if (holds(this.of(worker))) resolve();
    };
    const timer = setTimeout(
      () => reject(new Error(`waited ${timeoutMs / 1000} s for ${what}; pods of ${worker}: ${JSON.stringify(this.of(worker))}`)),
      timeoutMs,
    );
    this.#listeners.add(look);
    look();
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#listeners.delete(look);
    }
  }

  async waitForReady(worker: string, count: number): Promise<void> {
    await this.waitFor(`${count} pods`, worker, (pods) => pods.filter(({ ready }) => ready).length === count);
  }

  /** As if KEDA had nothing to do: not one pod is left, not even one that is going. */
  async waitForNone(...workers: readonly string[]): Promise<void> {
    await Promise.all(workers.map((worker) => this.waitFor("its pods to be gone", worker, (pods) => pods.length === 0)));
  }

  /** SIGKILL to the container's first process, as the kernel would. */
  async sigkill({ name, containerId }: WorkerPod): Promise<void> {
    process.kill(await this.#pid(name, containerId), "SIGKILL");
  }

  async #pid(name: string, containerId: string): Promise<number> {
    const socket = join(this.#cluster.stateDir, "containerd.sock");
    const tasks = (await command("ctr", ["-a", socket, "-n", "k8s.io", "task", "ls"]))
      .split("\n")
      .map((line) => line.split(/\s+/));
    const pid = tasks.find(([id]) => id === containerId)?.[1];
    if (pid === undefined) throw new Error(`no process of ${name} (${containerId})`);
    return Number(pid);
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

function workerPod(pod: V1Pod): WorkerPod {
  const status = pod.status?.containerStatuses?.[0];
  return {
    uid: pod.metadata?.uid ?? "",
    name: pod.metadata?.name ?? "",
    worker: pod.metadata?.labels?.[WORKER_LABEL] ?? "",
    node: pod.spec?.nodeName ?? "",
    ready: status?.ready === true,
    isLeaving: pod.metadata?.deletionTimestamp !== undefined,
    restarts: status?.restartCount ?? 0,
    containerId: (status?.containerID ?? "").replace("containerd://", ""),
    lastEnd: status?.lastState?.terminated?.reason,
    cost: Number(pod.metadata?.annotations?.[DELETION_COST] ?? 0),
  };
}
