import type { V1Job, V1Pod } from "@kubernetes/client-node";
import type { FailureClass } from "../../../libs/contract/failure-class.ts";
import { ANNOTATION, LABEL } from "../../../libs/contract/names.ts";
import { KubeApiError } from "../../../libs/kube/errors.ts";
import type { JobsApi } from "../../../libs/kube/jobs-api.ts";
import type { SeenJob } from "../oracle.ts";

export type PodEnd = "success" | "exit" | "stop" | "oom" | "evicted" | "preempted";

/** Somebody who watches Jobs and pods: told of each change, in order. */
export type Watcher = (change: { readonly job: V1Job; readonly pods: readonly V1Pod[]; readonly gone: boolean }) => void;

type Calls = Pick<JobsApi, "create" | "get" | "pods" | "setTtl" | "suspend" | "delete" | "deletePods" | "podLog" | "settledJobs">;

/**
 * The API server, the Job controller and the kubelet, as far as the engine can tell. A Job: created → a pod runs → it ended → the Job is
 * finished → collected when its ttl has passed. Names are unique, uids are not reused, preconditions are checked.
 */
export class MemoryCluster implements Calls {
  readonly #nowMs: () => number;
  readonly #jobs = new Map<string, V1Job>();
  readonly #pods = new Map<string, V1Pod>();
  readonly #history = new Map<string, Omit<SeenJob, "live">>();
  readonly #watchers = new Set<Watcher>();
  #objects = 0;
  /** Set by the model: what every create is answered with. */
  refusal: { readonly status: number; readonly reason: string; readonly message: string } | undefined;

  constructor(options: { readonly nowMs: () => number }) {
    this.#nowMs = options.nowMs;
  }

  async create(namespace: string, given: V1Job): Promise<V1Job> {
    if (this.refusal !== undefined) throw new KubeApiError(this.refusal);
    const job = structuredClone(given);
    const name = job.metadata?.name ?? "";
    if (this.#jobs.has(`${namespace}/${name}`)) {
      throw new KubeApiError({ status: 409, reason: "AlreadyExists", message: `jobs.batch "${name}" already exists` });
    }
    const uid = this.#uid("job");
    job.metadata = { ...job.metadata, namespace, uid };
    Object.assign(job.metadata, { creationTimestamp: this.#now() });
    this.#jobs.set(`${namespace}/${name}`, job);
    this.#history.set(uid, {
      uid,
      hash: job.metadata.labels?.[LABEL.job] ?? "",
      attempt: Number(job.metadata.labels?.[LABEL.attempt]),
      life: Number(job.metadata.annotations?.[ANNOTATION.life] ?? "1"),
      createdAt: this.#now(),
    });
    this.#tell(job, false);
    return structuredClone(job);
  }

  async get(namespace: string, name: string): Promise<V1Job | undefined> {
    return structuredClone(this.#jobs.get(`${namespace}/${name}`));
  }

  async pods(_namespace: string, labelSelector: string): Promise<V1Pod[]> {
    return structuredClone(this.#podsOf(labelSelector.split("=")[1] ?? ""));
  }

  async setTtl(namespace: string, name: string, uid: string, ttlSeconds: number): Promise<boolean> {
    return this.#patch(namespace, name, uid, (job) => {
      Object.assign(job.metadata?.annotations ?? {}, { [ANNOTATION.settled]: "true" });
      Object.assign(job.spec ?? {}, { ttlSecondsAfterFinished: ttlSeconds });
    });
  }

  async suspend(namespace: string, name: string, uid: string, stopClass: FailureClass, reason?: string): Promise<boolean> {
    return this.#patch(namespace, name, uid, (job) => {
      const why = reason === undefined ? {} : { [ANNOTATION.stopReason]: reason };
      Object.assign(job.metadata?.annotations ?? {}, { [ANNOTATION.stop]: stopClass, ...why });
      Object.assign(job.spec ?? {}, { suspend: true });
    });
  }

  async delete(namespace: string, name: string, uid: string): Promise<boolean> {
    const job = this.#jobs.get(`${namespace}/${name}`);
    if (job?.metadata?.uid !== uid) return false;
    this.remove(job, { orphan: false });
    return true;
  }

  async deletePods(_namespace: string, labelSelector: string): Promise<number> {
    const pods = this.#podsOf(labelSelector.split("=")[1] ?? "");
    for (const pod of pods) this.#pods.delete(pod.metadata?.uid ?? "");
    return pods.length;
  }

  async podLog(): Promise<undefined> {
    return undefined;
  }

  async settledJobs(): Promise<[]> {
    return [];
  }

  /** The answer ends the watch. It begins with everything that exists. */
  watch(watcher: Watcher): () => void {
    for (const job of this.#jobs.values()) watcher(structuredClone({ job, pods: this.#podsOf(uidOf(job)), gone: false }));
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }

  all(): V1Job[] {
    return [...this.#jobs.values()];
  }

  history(): SeenJob[] {
    return [...this.#history.values()].map((job) => ({ ...job, live: this.#lives(job.uid) }));
  }

  /** The Job's pod starts; a suspended or finished Job gets none. */
  start(job: V1Job): void {
    if (job.spec?.suspend === true || isFinished(job) || this.#podsOf(uidOf(job)).length > 0) return;
    const uid = this.#uid("pod");
    const startedAt = this.#now();
    const pod = {
      metadata: {
        name: uid,
        uid,
        namespace: job.metadata?.namespace ?? "",
        creationTimestamp: startedAt,
        ownerReferences: [{ apiVersion: "batch/v1", kind: "Job", name: job.metadata?.name ?? "", uid: uidOf(job) }],
      },
      spec: { containers: [], nodeName: "node0" },
      status: { phase: "Running", containerStatuses: [{ ...CONTAINER, state: { running: { startedAt } } }] },
    };
    this.#pods.set(uid, pod as unknown as V1Pod);
    this.#tell(job, false);
  }

  /** The Job's pod ends, and with it the Job. */
  end(job: V1Job, how: PodEnd): void {
    const [pod] = this.#podsOf(uidOf(job));
    if (pod === undefined || isFinished(job) || job.spec?.suspend === true) return;
    this.#terminate(pod, how);
    const at = this.#now();
    const condition =
      how === "success"
        ? { type: "Complete", status: "True", lastTransitionTime: at }
        : { type: "Failed", status: "True", reason: "BackoffLimitExceeded", message: "", lastTransitionTime: at };
    Object.assign(job, { status: { conditions: [condition], ...(how === "success" ? { completionTime: at } : {}) } });
    this.#tell(job, false);
  }

  /** A suspended Job's pod goes; it may have succeeded just before. */
  endStopped(job: V1Job, how: "success" | "killed"): void {
    if (job.spec?.suspend !== true) return;
    for (const pod of this.#podsOf(uidOf(job))) {
      if (how === "success") this.#terminate(pod, "success");
      this.#tell(job, false);
      this.#pods.delete(pod.metadata?.uid ?? "");
    }
    this.#tell(job, false);
  }

  /** `orphan`: its pods are left behind, as `kubectl delete --cascade=orphan` does. */
  remove(job: V1Job, { orphan }: { readonly orphan: boolean }): void {
    const pods = this.#podsOf(uidOf(job));
    this.#jobs.delete(`${job.metadata?.namespace}/${job.metadata?.name}`);
    this.#tell(job, true);
    if (!orphan) for (const pod of pods) this.#pods.delete(pod.metadata?.uid ?? "");
  }

  /** Pods whose Job is gone run to their end. */
  endOrphans(): void {
    const uids = new Set(this.all().map(uidOf));
    for (const pod of this.#pods.values()) {
      const orphaned = pod.metadata?.ownerReferences?.every(({ uid }) => !uids.has(uid)) === true;
      if (orphaned && pod.status?.phase === "Running") this.#terminate(pod, "success");
    }
  }

  /** What `ttlSecondsAfterFinished` has run out of goes. */
  collect(): void {
    for (const job of this.all()) {
      const ttlSeconds = job.spec?.ttlSecondsAfterFinished;
      const finishedAt = job.status?.conditions?.[0]?.lastTransitionTime;
      if (ttlSeconds === undefined || finishedAt === undefined) continue;
      if (Date.parse(String(finishedAt)) + ttlSeconds * 1_000 <= this.#nowMs()) this.remove(job, { orphan: false });
    }
  }

  #terminate(pod: V1Pod, how: PodEnd): void {
    const at = this.#now();
    const exitCode = how === "success" ? 0 : how === "exit" ? 3 : how === "stop" ? 64 : 137;
    const terminated = { exitCode, reason: how === "oom" ? "OOMKilled" : "", startedAt: at, finishedAt: at };
    const disruption = how === "evicted" ? "EvictionByEvictionAPI" : how === "preempted" ? "PreemptionByScheduler" : undefined;
    Object.assign(pod, {
      status: {
        phase: how === "success" ? "Succeeded" : "Failed",
        containerStatuses: [{ ...CONTAINER, state: { terminated } }],
        ...(disruption === undefined
          ? {}
          : { conditions: [{ type: "DisruptionTarget", status: "True", reason: disruption, lastTransitionTime: at }] }),
      },
    });
  }

  #patch(namespace: string, name: string, uid: string, change: (job: V1Job) => void): boolean {
    const job = this.#jobs.get(`${namespace}/${name}`);
    if (job?.metadata?.uid !== uid) return false;
    change(job);
    this.#tell(job, false);
    return true;
  }

  #lives(uid: string): boolean {
    const job = this.all().find((each) => uidOf(each) === uid);
    const runs = this.#podsOf(uid).some((pod) => pod.status?.phase === "Running");
    return runs || (job !== undefined && !isFinished(job) && job.spec?.suspend !== true);
  }

  #podsOf(jobUid: string): V1Pod[] {
    return [...this.#pods.values()].filter(({ metadata }) => metadata?.ownerReferences?.some(({ uid }) => uid === jobUid));
  }

  #tell(job: V1Job, gone: boolean): void {
    for (const watcher of this.#watchers) watcher(structuredClone({ job, pods: this.#podsOf(uidOf(job)), gone }));
  }

  #uid(kind: string): string {
    this.#objects += 1;
    return `${kind}-${this.#objects}`;
  }

  #now(): string {
    return new Date(this.#nowMs()).toISOString();
  }
}

const CONTAINER = { name: "main", image: "", imageID: "", ready: false, restartCount: 0 };

export function uidOf(job: V1Job): string {
  return job.metadata?.uid ?? "";
}

export function isFinished(job: V1Job): boolean {
  return (
    job.status?.conditions?.some(({ type, status }) => (type === "Complete" || type === "Failed") && status === "True") === true
  );
}
