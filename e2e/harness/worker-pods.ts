import { join } from "node:path";
import type { V1Pod } from "@kubernetes/client-node";
import type { KubeClient } from "../../libs/kube/client.ts";
import { Watch } from "../../libs/kube/watch.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import type { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { command } from "../../scripts/cluster/command.ts";
import { Changes } from "./changes.ts";

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
  readonly #changes = new Changes();

  private constructor(options: WorkerPodsOptions) {
    this.#cluster = options.cluster;
    this.#watch = new Watch<WorkerPod>({
      client: options.kube,
      path: `/api/v1/namespaces/${options.namespace}/pods`,
      selector: { labelSelector: WORKER_LABEL },
      project: (object) => workerPod(object as V1Pod),
      onChange: () => this.#changes.announce(),
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
    await this.#changes.untilTrue(() => holds(this.of(worker)), {
      what: `${worker}: ${what}`,
      limitMs: timeoutMs,
      seen: () => this.of(worker),
    });
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
