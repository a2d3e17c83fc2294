import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { ANNOTATION, type Instance, jobSelector, LABEL } from "../../libs/contract/names.ts";
import { type JobView, laterPod, type PodView } from "../../libs/contract/observation.ts";
import type { KubeClient } from "../../libs/kube/client.ts";
import { jobsPath } from "../../libs/kube/jobs-api.ts";
import { jobView, podView } from "../../libs/kube/views.ts";
import { type Change, Watch } from "../../libs/kube/watch.ts";
import type { Service } from "../../libs/runtime/lifecycle.ts";
import type { Log } from "../../libs/runtime/log.ts";

/** What is seen of one Job. `gone`: the object was removed; the view is its last. */
export interface Sighting {
  readonly job: JobView;
  readonly pods: readonly PodView[];
  readonly gone: boolean;
}

/** A monitor that does not lead settles nothing, so nothing tells it what to forget: beyond so many, what went longest ago. */
const GONE_KEPT = 10_000;

/**
 * The Jobs and pods of this instance in every job namespace. The last status of each pod is kept after the pod is gone, until its Job is
 * forgotten: pods vanish on suspend, on a deadline and by ttl, and their status is the evidence of the verdict (rule J1).
 */
export class Observer implements Service {
  readonly name = "observer";
  readonly #namespaces: readonly string[];
  readonly #jobWatches: Watch<JobView>[];
  readonly #podWatches: Watch<PodView>[];
  readonly #onJob: (uid: string) => void;
  readonly #goneKept: number;
  /** By Job; nearly always one, and there may be ten thousand. */
  readonly #pods = new Map<string, readonly PodView[]>();
  readonly #gone = new Map<string, JobView>();

  constructor(options: {
    readonly client: KubeClient;
    readonly instance: Instance;
    readonly namespaces: readonly string[];
    readonly onJob: (uid: string) => void;
    /** A namespace was listed anew: nobody looked for a while, and it is known again what is there. */
    readonly onListed?: () => void;
    readonly goneKept?: number;
    readonly nowMs?: () => number;
    readonly log: Log;
  }) {
    const { client, log, namespaces, nowMs, onListed = () => {} } = options;
    const selector = { labelSelector: jobSelector(options.instance) };
    const common = { client, log, selector, onListed, ...(nowMs === undefined ? {} : { nowMs }) };
    this.#namespaces = namespaces;
    this.#onJob = options.onJob;
    this.#goneKept = options.goneKept ?? GONE_KEPT;
    this.#jobWatches = namespaces.map(
      (namespace) =>
        new Watch<JobView>({
          ...common,
          path: jobsPath(namespace),
          project: (object) => jobView(object as V1Job),
          onChange: (change) => this.#jobChanged(change),
        }),
    );
    this.#podWatches = namespaces.map(
      (namespace) =>
        new Watch<PodView>({
          ...common,
          path: `/api/v1/namespaces/${namespace}/pods`,
          project: (object) => podView(object as V1Pod),
          onChange: (change) => this.#podChanged(change),
        }),
    );
  }

  /**
   * Resolves when everything that exists has been seen: pods first, so that no Job is judged without its evidence. A namespace that is gone or
   * forbidden is not waited for: the others must not stand still for it.
   */
  async start(): Promise<void> {
    await Promise.all(this.#podWatches.map((watch) => watch.startOrRefused()));
    await Promise.all(this.#jobWatches.map((watch) => watch.startOrRefused()));
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#jobWatches, ...this.#podWatches].map((watch) => watch.stop()));
  }

  /** Undefined while the observations follow that namespace; only then may absence be concluded from them. */
  problemIn(namespace: string): string | undefined {
    const index = this.#namespaces.indexOf(namespace);
    return index < 0 ? "is not watched" : (this.#jobWatches[index]?.problem() ?? this.#podWatches[index]?.problem());
  }

  /** Readiness: a problem only when no namespace at all can be followed. One that is gone or forbidden keeps nobody from the others. */
  problem(): string | undefined {
    const problems = this.problems();
    return problems.length < this.#namespaces.length ? undefined : problems.join("; ");
  }

  problems(): string[] {
    return this.#namespaces.flatMap((namespace) => {
      const problem = this.problemIn(namespace);
      return problem === undefined ? [] : [`${namespace}: ${problem}`];
    });
  }

  /** How long ago each watch was last known to follow its namespace. */
  *freshness(): IterableIterator<{ readonly kind: "jobs" | "pods"; readonly namespace: string; readonly freshnessMs: number }> {
    for (const [index, namespace] of this.#namespaces.entries()) {
      yield { kind: "jobs", namespace, freshnessMs: this.#jobWatches[index]?.freshnessMs() ?? 0 };
      yield { kind: "pods", namespace, freshnessMs: this.#podWatches[index]?.freshnessMs() ?? 0 };
    }
  }

  sighting(uid: string): Sighting | undefined {
    const gone = this.#gone.get(uid);
    const job = gone ?? this.#find(uid);
    return job === undefined ? undefined : { job, pods: this.#pods.get(uid) ?? [], gone: gone !== undefined };
  }

  *jobs(): IterableIterator<JobView> {
    for (const watch of this.#jobWatches) yield* watch.values();
  }

  /** Jobs that went before their outcome was known to be durable. */
  goneJobs(): Iterable<string> {
    return this.#gone.keys();
  }

  /** A Job of the same id with a higher attempt number. */
  laterJob({ hash, attempt }: { readonly hash: string; readonly attempt: number }): JobView | undefined {
    for (const job of this.jobs()) {
      if (job.labels[LABEL.job] === hash && Number(job.labels[LABEL.attempt]) > attempt) return job;
    }
    return undefined;
  }

  /** The Job's outcome is durable: its evidence is not needed any more. */
  forget(uid: string): void {
    this.#pods.delete(uid);
    this.#gone.delete(uid);
  }

  #find(uid: string): JobView | undefined {
    for (const watch of this.#jobWatches) {
      const view = watch.get(uid);
      if (view !== undefined) return view;
    }
    return undefined;
  }

  #jobChanged(change: Change<JobView>): void {
    const job = change.kind === "gone" ? change.last : change.view;
    // Gone means out of the selector's sight: a label that is put back brings the same Job back.
    if (change.kind === "present") this.#gone.delete(job.uid);
    else if (job.annotations[ANNOTATION.settled] !== undefined) this.forget(job.uid);
    else this.#keepGone(job);
    this.#onJob(job.uid);
  }

  #keepGone(job: JobView): void {
    this.#gone.set(job.uid, job);
    const [oldest] = this.#gone.size > this.#goneKept ? this.#gone.keys() : [];
    if (oldest !== undefined) this.forget(oldest);
  }

  #podChanged(change: Change<PodView>): void {
    const pod = change.kind === "gone" ? change.last : change.view;
    if (pod.jobUid === "") return;
    // A pod that outlived its forgotten Job is nobody's evidence.
    if (change.kind === "gone" && this.sighting(pod.jobUid) === undefined) {
      this.#pods.delete(pod.jobUid);
      return;
    }
    const known = this.#pods.get(pod.jobUid) ?? [];
    const index = known.findIndex(({ uid }) => uid === pod.uid);
    // Neither leaves room in the array, as a push would.
    this.#pods.set(pod.jobUid, index < 0 ? known.concat(pod) : known.with(index, laterPod(known[index], pod)));
    this.#onJob(pod.jobUid);
  }
}
