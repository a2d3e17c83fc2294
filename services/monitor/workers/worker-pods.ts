import type { V1Pod } from "@kubernetes/client-node";
import type { Instance } from "../../../libs/contract/names.ts";
import type { DispatchConfig } from "../../../libs/contract/queue-config.ts";
import type { WorkerPod } from "../../../libs/contract/worker-end.ts";
import type { KubeClient } from "../../../libs/kube/client.ts";
import { type Change, Watch } from "../../../libs/kube/watch.ts";
import { workerPodsPath, workerPodView, workerSelector } from "../../../libs/kube/worker-pods-api.ts";
import type { Service } from "../../../libs/runtime/lifecycle.ts";
import type { Log } from "../../../libs/runtime/log.ts";

/** `isGone`: the object was removed; the view is its last. */
export interface WorkerPodSighting {
  readonly pod: WorkerPod;
  readonly isGone: boolean;
}

/** What went longest ago is forgotten first: its claims were looked at within a second, or by a sweep. */
const GONE_KEPT = 2_000;

interface Config {
  subscribe(listener: (config: Pick<DispatchConfig, "workers">) => void): () => void;
}

/**
 * The pods of the workers, and the last status of those that are gone: it says how their processes ended.
 *
 *   not watched (no workers are configured) ⇄ watched
 *
 * Every monitor watches, so that one that begins to lead knows what it has to know.
 */
export class WorkerPods implements Service {
  readonly name = "worker-pods";
  readonly #client: KubeClient;
  readonly #instance: Instance;
  readonly #namespace: string;
  readonly #config: Config;
  readonly #onPod: (uid: string) => void;
  readonly #onSynced: () => void;
  readonly #log: Log;
  readonly #gone = new Map<string, WorkerPod>();
  readonly #deletedAt = new Map<string, string>();
  #watch: Watch<WorkerPod> | undefined;
  #unsubscribe: (() => void) | undefined;
  #ending: Promise<void> = Promise.resolve();

  constructor(options: {
    readonly client: KubeClient;
    readonly instance: Instance;
    readonly namespace: string;
    readonly config: Config;
    readonly onPod: (uid: string) => void;
    /** All that are there are known. */
    readonly onSynced: () => void;
    readonly log: Log;
  }) {
    this.#client = options.client;
    this.#instance = options.instance;
    this.#namespace = options.namespace;
    this.#config = options.config;
    this.#onPod = options.onPod;
    this.#onSynced = options.onSynced;
    this.#log = options.log;
  }

  /** Waits for nothing: without the right to see pods everything else works, and messages come back when their leases run out. */
  start(): Promise<void> {
    this.#unsubscribe ??= this.#config.subscribe(({ workers }) => {
      if (Object.keys(workers).length > 0) this.#begin();
      else this.#end();
    });
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#end();
    await this.#ending;
  }

  /** Undefined while the pods are followed; only then may absence be concluded from them. */
  problem(): string | undefined {
    return this.#watch === undefined ? "no workers are configured" : this.#watch.problem();
  }

  /** For people: why what dead workers held comes back late. */
  notes(): string[] {
    const problem = this.#watch?.problem();
    return problem === undefined
      ? []
      : [`worker pods are not seen, so what dead ones held comes back only after ack_wait: ${problem}`];
  }

  /** How long ago the pods were last known to be followed; undefined while nobody wants to know. */
  freshnessMs(): number | undefined {
    return this.#watch?.freshnessMs();
  }

  sighting(uid: string): WorkerPodSighting | undefined {
    const there = this.#watch?.get(uid);
    if (there !== undefined) return { pod: this.#firstDeleted(there), isGone: false };
    const gone = this.#gone.get(uid);
    return gone === undefined ? undefined : { pod: gone, isGone: true };
  }

  *pods(): IterableIterator<WorkerPod> {
    if (this.#watch !== undefined) yield* this.#watch.values();
  }

  #begin(): void {
    if (this.#watch !== undefined) return;
    this.#watch = new Watch<WorkerPod>({
      client: this.#client,
      path: workerPodsPath(this.#namespace),
      selector: { labelSelector: workerSelector(this.#instance) },
      project: (object) => workerPodView(object as V1Pod),
      onChange: (change) => this.#changed(change),
      log: this.#log,
    });
    void this.#watch.start().then(this.#onSynced);
  }

  #end(): void {
    const ended = this.#watch?.stop();
    this.#watch = undefined;
    this.#gone.clear();
    this.#deletedAt.clear();
    if (ended !== undefined) this.#ending = Promise.all([this.#ending, ended]).then(() => undefined);
  }

  #changed(change: Change<WorkerPod>): void {
    if (change.kind === "present") this.#present(change.view);
    else this.#wentAway(change.last);
    this.#onPod(change.kind === "present" ? change.view.uid : change.last.uid);
  }

  #present(pod: WorkerPod): void {
    this.#gone.delete(pod.uid);
    if (pod.deletedAt !== undefined && !this.#deletedAt.has(pod.uid)) this.#deletedAt.set(pod.uid, pod.deletedAt);
  }

  #wentAway(pod: WorkerPod): void {
    this.#gone.set(pod.uid, this.#firstDeleted(pod));
    this.#deletedAt.delete(pod.uid);
    const [oldest] = this.#gone.size > GONE_KEPT ? this.#gone.keys() : [];
    if (oldest !== undefined) this.#gone.delete(oldest);
  }

  /** The kubelet's own delete, once all containers have ended, moves the time that the object shows to then. */
  #firstDeleted(pod: WorkerPod): WorkerPod {
    const deletedAt = this.#deletedAt.get(pod.uid);
    return deletedAt === undefined ? pod : { ...pod, deletedAt };
  }
}
