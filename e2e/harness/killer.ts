import type { V1Pod } from "@kubernetes/client-node";
import type { KubeClient } from "../../libs/kube/client.ts";
import { isNotFound } from "../../libs/kube/errors.ts";
import { Watch } from "../../libs/kube/watch.ts";
import { pause } from "../../libs/runtime/backoff.ts";
import { silentLog } from "../../libs/runtime/log.ts";

const PRODUCT_SERVICES = ["dispatcher", "monitor", "nats"] as const;

/** The kubelet waits longer before each restart of one container; a pod that was killed this often is replaced instead. */
const RESTARTS_AT_MOST = 1;

/** Time to get something done in, so that the strikes fall into the middle of work. */
const BETWEEN_STRIKES_MS = 3_000;

interface PodState {
  readonly uid: string;
  readonly name: string;
  readonly service: string;
  readonly restarts: number;
  readonly ready: boolean;
  readonly containerId: string;
}

/** Takes the product's pods away without a word, one at a time, as soon as every service has one that is ready again. */
export class Killer implements AsyncDisposable {
  readonly #kube: KubeClient;
  readonly #namespace: string;
  readonly #sigkill: (containerId: string) => Promise<void>;
  readonly #random: () => number;
  readonly #watch: Watch<PodState>;
  #changed = Promise.withResolvers<void>();
  readonly struck: string[] = [];

  constructor(options: {
    readonly kube: KubeClient;
    readonly namespace: string;
    readonly release: string;
    /** SIGKILL to the container's process. */
    readonly sigkill: (containerId: string) => Promise<void>;
    readonly random: () => number;
  }) {
    this.#kube = options.kube;
    this.#namespace = options.namespace;
    this.#sigkill = options.sigkill;
    this.#random = options.random;
    this.#watch = new Watch<PodState>({
      client: options.kube,
      path: `/api/v1/namespaces/${options.namespace}/pods`,
      selector: { labelSelector: `app.kubernetes.io/instance=${options.release}` },
      project: (object) => podState(object as V1Pod),
      onChange: () => {
        this.#changed.resolve();
        this.#changed = Promise.withResolvers<void>();
      },
      log: silentLog,
    });
  }

  /** Strikes until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#watch.start();
    const aborted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    while (!signal.aborted) {
      if (this.#standing()) {
        await this.#strike();
        await pause(BETWEEN_STRIKES_MS, signal);
        continue;
      }
      await Promise.race([this.#changed.promise, aborted]);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#watch.stop();
  }

  #standing(): boolean {
    return PRODUCT_SERVICES.every((service) => this.#ready(service).length > 0);
  }

  #ready(service: string): PodState[] {
    return [...this.#watch.values()].filter((pod) => pod.service === service && pod.ready && !this.#isStruck(pod));
  }

  #isStruck({ uid, restarts }: PodState): boolean {
    return this.struck.some((struck) => struck.endsWith(` ${uid} ${restarts}`));
  }

  async #strike(): Promise<void> {
    const service = PRODUCT_SERVICES[Math.floor(this.#random() * PRODUCT_SERVICES.length)] ?? "dispatcher";
    const ready = this.#ready(service);
    const victim = ready[Math.floor(this.#random() * ready.length)];
    if (victim === undefined) return;
    this.struck.push(`${service} ${victim.name} ${victim.uid} ${victim.restarts}`);
    if (victim.restarts > RESTARTS_AT_MOST) await this.#remove(victim);
    else await this.#sigkill(victim.containerId);
  }

  /** Without a grace period: SIGKILL, and another pod in its place. */
  async #remove({ name }: PodState): Promise<void> {
    const path = `/api/v1/namespaces/${this.#namespace}/pods/${name}`;
    try {
      await this.#kube.json<unknown>({ method: "DELETE", path, body: { gracePeriodSeconds: 0 } });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}

function podState(pod: V1Pod): PodState {
  const status = pod.status?.containerStatuses?.[0];
  return {
    uid: pod.metadata?.uid ?? "",
    name: pod.metadata?.name ?? "",
    service: pod.metadata?.labels?.["app.kubernetes.io/component"] ?? "",
    restarts: status?.restartCount ?? 0,
    ready: status?.ready === true && pod.metadata?.deletionTimestamp === undefined,
    containerId: status?.containerID ?? "",
  };
}
