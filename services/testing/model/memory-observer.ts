import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { LABEL } from "../../../libs/contract/names.ts";
import type { JobView, PodView } from "../../../libs/contract/observation.ts";
import { jobView, podView } from "../../../libs/kube/views.ts";
import type { Observer, Sighting } from "../../monitor/observer.ts";
import type { MemoryCluster } from "./memory-cluster.ts";

interface Change {
  readonly job: V1Job;
  readonly pods: readonly V1Pod[];
  readonly gone: boolean;
}

/** A monitor's watch of the cluster: it sees every change in order, but as late as the model lets it. */
export class MemoryObserver
  implements Pick<Observer, "sighting" | "forget" | "problemIn" | "problems" | "jobs" | "goneJobs" | "laterJob">
{
  readonly #onJob: (uid: string) => void;
  readonly #coming: Change[] = [];
  readonly #jobs = new Map<string, JobView>();
  readonly #gone = new Map<string, JobView>();
  readonly #pods = new Map<string, Map<string, PodView>>();
  readonly #unwatch: () => void;

  constructor(options: { readonly cluster: MemoryCluster; readonly onJob: (uid: string) => void }) {
    this.#onJob = options.onJob;
    this.#unwatch = options.cluster.watch((change) => void this.#coming.push(change));
    // A monitor begins with a complete list.
    this.see(Number.POSITIVE_INFINITY);
  }

  stop(): void {
    this.#unwatch();
  }

  get coming(): number {
    return this.#coming.length;
  }

  /** The next `count` changes arrive. */
  see(count: number): void {
    for (const { job, pods, gone } of this.#coming.splice(0, count)) {
      const view = jobView(job);
      if (gone) {
        this.#gone.set(view.uid, view);
        this.#jobs.delete(view.uid);
      } else this.#jobs.set(view.uid, view);
      const seen = this.#pods.get(view.uid) ?? new Map<string, PodView>();
      for (const pod of pods.map(podView)) seen.set(pod.uid, pod);
      if (seen.size > 0) this.#pods.set(view.uid, seen);
      this.#onJob(view.uid);
    }
  }

  problemIn(): undefined {
    return undefined;
  }

  problems(): [] {
    return [];
  }

  goneJobs(): IterableIterator<string> {
    return this.#gone.keys();
  }

  sighting(uid: string): Sighting | undefined {
    const gone = this.#gone.get(uid);
    const job = gone ?? this.#jobs.get(uid);
    return job === undefined ? undefined : { job, pods: [...(this.#pods.get(uid)?.values() ?? [])], gone: gone !== undefined };
  }

  jobs(): IterableIterator<JobView> {
    return this.#jobs.values();
  }

  laterJob({ hash, attempt }: { readonly hash: string; readonly attempt: number }): JobView | undefined {
    for (const job of this.#jobs.values()) {
      if (job.labels[LABEL.job] === hash && Number(job.labels[LABEL.attempt]) > attempt) return job;
    }
    return undefined;
  }

  forget(uid: string): void {
    this.#pods.delete(uid);
    this.#gone.delete(uid);
  }
}
