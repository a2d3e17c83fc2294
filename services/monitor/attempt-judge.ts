import type { V1Job } from "@kubernetes/client-node";
import { type JobView, laterPod, type PodView, podEnded } from "../../libs/contract/observation.ts";
import type { QueueConfig } from "../../libs/contract/queue-config.ts";
import { startTrouble, type WithoutPod } from "../../libs/contract/start-trouble.ts";
import { type Ended, judge, judgeStopped } from "../../libs/contract/verdict.ts";
import { isForbidden } from "../../libs/kube/errors.ts";
import type { JobsApi } from "../../libs/kube/jobs-api.ts";
import type { NamespacesApi } from "../../libs/kube/namespaces-api.ts";
import { jobView, podView } from "../../libs/kube/views.ts";
import type { JobIdentity } from "./job-identity.ts";
import type { LogKeeper } from "./log-keeper.ts";
import type { Sighting } from "./observer.ts";

export type Judgement =
  /** Nothing to do before something changes, or, with `againInMs`, before that time has passed. */
  | { readonly kind: "live"; readonly againInMs?: number }
  /** It waits for its first pod for longer than usual. Seen by the watch alone: it is no verdict, and a cluster that is behind is asked for nothing more. */
  | { readonly kind: "withoutPod"; readonly cause: WithoutPod["cause"]; readonly why: string; readonly againInMs: number }
  | { readonly kind: "ended"; readonly verdict: Ended; readonly stopped: boolean }
  /** The Job object is gone, and what was seen of it says nothing of its end: rule J5. */
  | { readonly kind: "gone" };

export interface AttemptJudgeOptions {
  readonly jobs: Pick<JobsApi, "get" | "pods" | "suspend" | "deletePods">;
  readonly namespaces: Pick<NamespacesApi, "isGone" | "isLeaving">;
  readonly logs: Pick<LogKeeper, "keep">;
  readonly nowMs: () => number;
}

/** A Stop waits for pods to end, which the watch tells; this is for a pod whose end the watch missed. */
const STOP_LOOK_MS = 5_000;

/**
 * How an attempt stands (rules J1–J4), from what the watch saw and, for everything but a success, from a fresh read.
 *
 *   live → (trouble at its start, or a person's cancel) → stopping: suspended, log kept → no pod left → ended
 *   live → Complete | Failed | node lost → ended            live → deleted → gone
 *
 * A Stop is written on the Job itself, so that any monitor carries it on.
 */
export class AttemptJudge {
  readonly #options: AttemptJudgeOptions;
  /** Attempts whose log was kept because their pods were about to go. */
  readonly #kept = new Set<string>();

  constructor(options: AttemptJudgeOptions) {
    this.#options = options;
  }

  forget(uid: string): void {
    this.#kept.delete(uid);
  }

  async judge(sighting: Sighting, identity: JobIdentity, queue: QueueConfig | undefined): Promise<Judgement> {
    const { job, pods, gone } = sighting;
    const nodeLoss = queue?.nodeLoss ?? "fast";
    const seen = judge(job, pods, { nodeLoss });
    if (seen.kind === "succeeded" && !gone && !job.suspended) return this.#succeeded(sighting);
    if (gone || seen.kind !== "live" || job.suspended) return this.#judgeFreshly(sighting, identity, queue);
    if (job.failureTarget !== undefined || pods.some(({ deletedAt }) => deletedAt !== undefined)) {
      await this.#keepLog(sighting, identity, queue);
    }
    const trouble =
      queue === undefined ? ({ kind: "none" } as const) : startTrouble({ job, pods, queue, nowMs: this.#options.nowMs() });
    switch (trouble.kind) {
      case "none":
        return { kind: "live" };
      case "wait":
        return { kind: "live", againInMs: Math.max(0, trouble.untilMs - this.#options.nowMs()) };
      case "withoutPod":
        return { kind: "withoutPod", cause: trouble.cause, why: trouble.why, againInMs: trouble.untilMs - this.#options.nowMs() };
      case "stop":
        await this.#options.jobs.suspend(job.namespace, job.name, job.uid, trouble.class, trouble.reason);
        return { kind: "live", againInMs: STOP_LOOK_MS };
    }
  }

  /** J2: a Stop for which there is no verdict yet. False when the Job is gone. */
  async stop(sighting: Pick<Sighting, "job">, stopClass: "lost" | "cancelled", reason: string): Promise<boolean> {
    const { job } = sighting;
    return job.suspended || (await this.#options.jobs.suspend(job.namespace, job.name, job.uid, stopClass, reason));
  }

  /** Whether nothing of the attempt runs any more. The Job object may be gone while its pods are not (`--cascade=orphan`). */
  async hasEnded(job: Pick<JobView, "namespace" | "uid">): Promise<boolean> {
    const pods = await this.#listed(job);
    return pods.every(podEnded);
  }

  /** J5: 403 is never "gone", unless the namespace itself is. */
  async get(namespace: string, name: string): Promise<V1Job | undefined> {
    return this.#unlessNamespaceGone(namespace, undefined, () => this.#options.jobs.get(namespace, name));
  }

  async #unlessNamespaceGone<T>(namespace: string, gone: T, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      if (isForbidden(error) && (await this.#options.namespaces.isGone(namespace))) return gone;
      throw error;
    }
  }

  /** J1: `Complete` is the Job's last word, which a fresh read could only repeat; its pod is asked for when the watch has not shown its end yet. */
  async #succeeded({ job, pods }: Sighting): Promise<Judgement> {
    const ended = pods.some(({ phase }) => phase === "Succeeded") ? pods : together(await this.#listed(job), pods);
    const verdict = judge(job, ended);
    return verdict.kind === "live" ? verdict : { kind: "ended", verdict, stopped: false };
  }

  async #judgeFreshly(sighting: Sighting, identity: JobIdentity, queue: QueueConfig | undefined): Promise<Judgement> {
    const { job } = sighting;
    const fresh = await this.get(job.namespace, job.name);
    const current = fresh !== undefined && fresh.metadata?.uid === job.uid ? jobView(fresh) : undefined;
    if (current === undefined) return this.#judgeGone(sighting, queue);
    const listed = await this.#listed(job);
    const pods = together(listed, sighting.pods);
    const verdict = judge(current, pods, { nodeLoss: queue?.nodeLoss ?? "fast" });
    if (verdict.kind !== "live") {
      if (verdict.kind === "failed") await this.#keepLog({ ...sighting, pods }, identity, queue, fresh, verdict.container);
      return { kind: "ended", verdict: await this.#unlessNamespaceLeaves(job, pods, verdict), stopped: current.suspended };
    }
    if (!current.suspended) return { kind: "live" };
    await this.#keepLog({ ...sighting, pods }, identity, queue, fresh);
    if (!listed.every(podEnded)) return { kind: "live", againInMs: STOP_LOOK_MS };
    return { kind: "ended", verdict: judgeStopped(current, pods), stopped: true };
  }

  /** J5: a namespace that is deleted takes its pods before its Jobs. Somebody wanted that, so nothing of it is tried again. */
  async #unlessNamespaceLeaves({ namespace }: JobView, pods: readonly PodView[], verdict: Ended): Promise<Ended> {
    const taken = verdict.kind === "failed" && pods.some(({ deletedAt }) => deletedAt !== undefined);
    if (!taken || !(await this.#options.namespaces.isLeaving(namespace))) return verdict;
    return { ...verdict, class: "deleted", reason: `its namespace was deleted: ${verdict.reason}` };
  }

  /** J2, J5: pods that outlive their Job object are taken away before anything is concluded from its absence. */
  async #judgeGone({ job, pods }: Sighting, queue: QueueConfig | undefined): Promise<Judgement> {
    const verdict = judge(job, pods, { nodeLoss: queue?.nodeLoss ?? "fast" });
    if (verdict.kind !== "live") {
      return { kind: "ended", verdict: await this.#unlessNamespaceLeaves(job, pods, verdict), stopped: false };
    }
    const listed = await this.#listed(job);
    if (!(await this.#clear(job, listed))) return { kind: "live", againInMs: STOP_LOOK_MS };
    if (job.suspended) return { kind: "ended", verdict: judgeStopped(job, together(listed, pods)), stopped: true };
    return { kind: "gone" };
  }

  /** J2: whether no pod of a Job that is gone runs any more; those that do are told to go. */
  async clearPods(job: Pick<JobView, "namespace" | "uid">): Promise<boolean> {
    return this.#clear(job, await this.#listed(job));
  }

  async #clear(job: Pick<JobView, "namespace" | "uid">, listed: readonly PodView[]): Promise<boolean> {
    if (listed.some((pod) => !podEnded(pod) && pod.deletedAt === undefined)) {
      await this.#options.jobs.deletePods(job.namespace, ownedBy(job));
    }
    return listed.every(podEnded);
  }

  /** The pods that exist now. */
  async #listed(job: Pick<JobView, "namespace" | "uid">): Promise<PodView[]> {
    const pods = await this.#unlessNamespaceGone(job.namespace, [], () => this.#options.jobs.pods(job.namespace, ownedBy(job)));
    return pods.map(podView);
  }

  async #keepLog(
    { job, pods }: Sighting,
    identity: JobIdentity,
    queue: QueueConfig | undefined,
    fresh?: V1Job,
    container?: string,
  ): Promise<void> {
    if (this.#kept.has(job.uid) && container === undefined) return;
    const whole = fresh ?? (await this.get(job.namespace, job.name));
    // Which values are secret stands in the Job: without it nothing is kept.
    if (whole?.metadata?.uid !== job.uid) return;
    // A container may begin after its pod's end was asked for, and say something yet.
    const of = { ...identity, job };
    if (await this.#options.logs.keep({ of, job: whole, pods, container, queue })) this.#kept.add(job.uid);
  }
}

/** The Job controller's label on its pods; it stays on orphans. */
function ownedBy(job: Pick<JobView, "uid">): string {
  return `batch.kubernetes.io/controller-uid=${job.uid}`;
}

/** The pods that exist, and the last status of those that do not. */
function together(listed: readonly PodView[], seen: readonly PodView[]): PodView[] {
  const before = new Map(seen.map((pod) => [pod.uid, pod]));
  const gone = seen.filter(({ uid }) => !listed.some((pod) => pod.uid === uid));
  return [...listed.map((pod) => laterPod(before.get(pod.uid), pod)), ...gone];
}
