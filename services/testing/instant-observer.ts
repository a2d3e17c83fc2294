import { LABEL } from "../../libs/contract/names.ts";
import type { JobView, PodView } from "../../libs/contract/observation.ts";
import { podView } from "../../libs/kube/views.ts";
import type { Observer, Sighting } from "../monitor/observer.ts";
import type { FakeCluster } from "./fake-cluster.ts";

/** Sees a fake cluster as it is when it is asked, and keeps the last sight of what is gone, as the watches of the real one do. */
export class InstantObserver
  implements Pick<Observer, "sighting" | "forget" | "laterJob" | "jobs" | "goneJobs" | "problemIn" | "problems">
{
  readonly #cluster: FakeCluster;
  readonly #jobs = new Map<string, JobView>();
  readonly #pods = new Map<string, Map<string, PodView>>();
  /** Namespaces that the watches do not follow, and why. */
  readonly blind = new Map<string, string>();

  constructor(cluster: FakeCluster) {
    this.#cluster = cluster;
  }

  /** What is there at this moment will be remembered. */
  look(): void {
    for (const job of this.#cluster.objects.values()) this.#jobs.set(job.metadata?.uid ?? "", this.#cluster.view(job));
    for (const pod of this.#cluster.pods.map((each) => podView(structuredClone(each)))) {
      const pods = this.#pods.get(pod.jobUid) ?? new Map<string, PodView>();
      this.#pods.set(pod.jobUid, pods.set(pod.uid, pod));
    }
  }

  sighting(uid: string): Sighting | undefined {
    this.look();
    const job = this.#jobs.get(uid);
    if (job === undefined) return undefined;
    const isThere = [...this.#cluster.objects.values()].some(({ metadata }) => metadata?.uid === uid);
    return { job, pods: [...(this.#pods.get(uid)?.values() ?? [])], gone: !isThere };
  }

  *jobs(): IterableIterator<JobView> {
    for (const job of this.#cluster.objects.values()) {
      if (!this.blind.has(job.metadata?.namespace ?? "")) yield this.#cluster.view(job);
    }
  }

  goneJobs(): string[] {
    return [...this.#jobs.keys()].filter((uid) => this.sighting(uid)?.gone === true);
  }

  laterJob({ hash, attempt }: { readonly hash: string; readonly attempt: number }): JobView | undefined {
    return [...this.jobs()].find((job) => job.labels[LABEL.job] === hash && Number(job.labels[LABEL.attempt]) > attempt);
  }

  forget(uid: string): void {
    this.#jobs.delete(uid);
    this.#pods.delete(uid);
  }

  problemIn(namespace: string): string | undefined {
    return this.blind.get(namespace);
  }

  problems(): string[] {
    return [...this.blind].map(([namespace, problem]) => `${namespace}: ${problem}`);
  }
}
