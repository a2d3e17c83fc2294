import type { V1Pod, V1PodList } from "@kubernetes/client-node";
import type { KubeClient } from "../../libs/kube/client.ts";
import { isNotFound } from "../../libs/kube/errors.ts";

export const PRODUCT_SERVICES = ["dispatcher", "monitor", "nats"] as const;

/** The kubelet waits longer before each restart of one container; a pod that was killed this often is replaced instead. */
const RESTARTS_AT_MOST = 1;

/** Takes the product's pods away without a word, one at a time. */
export class Killer {
  readonly #kube: KubeClient;
  readonly #namespace: string;
  readonly #release: string;
  readonly #sigkill: (pod: V1Pod) => Promise<void>;
  readonly #random: () => number;
  readonly struck: string[] = [];

  constructor(options: {
    readonly kube: KubeClient;
    readonly namespace: string;
    readonly release: string;
    /** SIGKILL to the container's process. */
    readonly sigkill: (pod: V1Pod) => Promise<void>;
    readonly random: () => number;
  }) {
    this.#kube = options.kube;
    this.#namespace = options.namespace;
    this.#release = options.release;
    this.#sigkill = options.sigkill;
    this.#random = options.random;
  }

  /** NATS is one pod and takes a while to come back, so it is struck less often than the others. */
  async strike(): Promise<void> {
    const service = PRODUCT_SERVICES[Math.min(Math.floor(this.#random() * 2.4), 2)] ?? "dispatcher";
    const running = (await this.#pods(service)).filter(
      ({ status }) => status?.containerStatuses?.[0]?.state?.running !== undefined,
    );
    const victim = running[Math.floor(this.#random() * running.length)];
    if (victim === undefined) return;
    const restarts = victim.status?.containerStatuses?.[0]?.restartCount ?? 0;
    this.struck.push(`${service} ${victim.metadata?.name}`);
    if (restarts > RESTARTS_AT_MOST) await this.#remove(victim);
    else await this.#sigkill(victim);
  }

  async #pods(service: string): Promise<V1Pod[]> {
    const labelSelector = `app.kubernetes.io/component=${service},app.kubernetes.io/instance=${this.#release}`;
    const path = `/api/v1/namespaces/${this.#namespace}/pods`;
    return (await this.#kube.json<V1PodList>({ method: "GET", path, query: { labelSelector } })).items;
  }

  /** Without a grace period: SIGKILL, and another pod in its place. */
  async #remove(pod: V1Pod): Promise<void> {
    const path = `/api/v1/namespaces/${this.#namespace}/pods/${pod.metadata?.name}`;
    try {
      await this.#kube.json<unknown>({ method: "DELETE", path, body: { gracePeriodSeconds: 0 } });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}
