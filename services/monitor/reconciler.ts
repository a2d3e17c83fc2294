import { assertNever, MillraceError } from "../../libs/contract/errors.ts";
import { firstSightRule } from "../../libs/contract/first-sight.ts";
import { ANNOTATION } from "../../libs/contract/names.ts";
import type { JobView, PodView } from "../../libs/contract/observation.ts";
import { mainContainer } from "../../libs/contract/observation.ts";
import { currentAttempt, type JobRecord, type JobReference } from "../../libs/contract/record.ts";
import { transition } from "../../libs/contract/transition.ts";
import { type Ended, judge, startOf } from "../../libs/contract/verdict.ts";
import type { LiveConfig } from "../../libs/kube/dispatch-config-source.ts";
import type { JobsApi } from "../../libs/kube/jobs-api.ts";
import { jobView, podView } from "../../libs/kube/views.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";
import type { JobStore } from "../../libs/streams/job-store.ts";
import type { StoredRecord } from "../../libs/streams/records.ts";
import { firstSightOf, type JobIdentity, jobIdentity } from "./job-identity.ts";
import type { Observer, Sighting } from "./observer.ts";

export interface ReconcilerOptions {
  readonly store: JobStore;
  readonly observer: Pick<Observer, "sighting" | "forget">;
  readonly jobs: JobsApi;
  readonly config: () => LiveConfig;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** Evidence outlives the verdict by at least this, whatever a message asks for (design §4.2). */
const KEEP_AT_LEAST_SECONDS = 60;
const KEEP_UNCONFIGURED = { succeeded: 300_000, failed: 3_600_000 } as const;

/**
 * Brings what is recorded of one Job in line with what is seen of it (rules F1–F4, J1, J5, S5). Level-triggered: it looks at the newest state
 * only, so it may be called for a Job at any time and any number of times, by two monitors at once.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  /** Jobs whose outcome is durable, or which are nobody's: their leases are not renewed. */
  readonly #done = new Set<string>();
  readonly #started = new Set<string>();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  isDone(uid: string): boolean {
    return this.#done.has(uid);
  }

  async reconcile(uid: string): Promise<void> {
    const sighting = this.#options.observer.sighting(uid);
    if (sighting === undefined) return;
    if (this.#done.has(uid) || isSettled(sighting.job)) return this.#finished(sighting);
    const identity = jobIdentity(sighting.job);
    if (identity === undefined) {
      this.#options.log.warn("job.without-identity", { namespace: sighting.job.namespace, job: sighting.job.name, uid });
      return this.#finished(sighting);
    }
    const stored = await this.#options.store.records.get(identity.hash);
    const rule = firstSightRule(
      { uid, attempt: identity.attempt, messageHash: identity.messageHash, finished: isOver(sighting) },
      stored?.record,
    );
    switch (rule) {
      case "F1":
        return this.#firstSight(sighting, identity, stored);
      case "known":
        return this.#follow(sighting, identity, stored?.record);
      case "F2":
        return this.#finishSettling(sighting, identity, stored?.record);
      case "F3":
        await this.#setTtl(sighting, identity, "failed");
        return this.#finished(sighting);
      case "F4":
        return this.#remove(sighting, identity);
      default:
        return assertNever(rule);
    }
  }

  /** J5, for a record whose Job is not among those seen. `ack` is unknown then; the message is removed by its source. */
  async reconcileMissing(record: JobRecord, reference: JobReference): Promise<void> {
    const job = await this.#options.jobs.get(reference.namespace, reference.name);
    if (job?.metadata?.uid === reference.uid) return;
    await this.#settle(record, reference, (await this.#outcomeOnRecord(record)) ?? deleted(), undefined);
  }

  /** F1: the event first, so that a running record always has its created event. */
  async #firstSight(sighting: Sighting, identity: JobIdentity, stored: StoredRecord | undefined): Promise<void> {
    const { store, log } = this.#options;
    const moved = transition(stored?.record, firstSightOf(identity, sighting.job, new Date().toISOString()));
    if (moved.kind === "refused")
      throw new MillraceError("INTERNAL", `first sight of ${sighting.job.name} was refused: ${moved.why}`);
    await store.events.created(moved.record, await store.messages.read(identity.source));
    if (moved.kind === "moved") {
      const swap = await store.records.swap(moved.record, stored?.revision ?? 0);
      // Another monitor or another Job of the same id was first: look again at what it wrote.
      if (swap.kind === "lost") return this.reconcile(sighting.job.uid);
      log.info("job.recorded", { id: identity.id, queue: identity.queue, attempt: identity.attempt, uid: sighting.job.uid });
    }
    return this.#follow(sighting, identity, moved.record);
  }

  /** The record speaks of this Job: report its start, judge its end. */
  async #follow(sighting: Sighting, identity: JobIdentity, record: JobRecord | undefined): Promise<void> {
    if (record === undefined) throw new MillraceError("INTERNAL", "a known Job without a record");
    await this.#reportStart(sighting, record);
    const verdict = await this.#verdict(sighting, record);
    if (verdict === undefined) return;
    const settled = await this.#settle(record, { ...sighting.job }, verdict, identity.ack);
    if (!settled) throw new MillraceError("INTERNAL", `the outcome of ${sighting.job.name} was refused; its record moved on`);
    await this.#setTtl(sighting, identity, verdict.kind);
    this.#finished(sighting);
  }

  /** J1: success may be read off the watch; every other verdict rests on a fresh read. Undefined while the attempt lives. */
  async #verdict(sighting: Sighting, record: JobRecord): Promise<Ended | undefined> {
    const { job, gone } = sighting;
    const { jobs } = this.#options;
    if (!gone && job.completedAt === undefined && job.failed === undefined) return undefined;
    const fresh = await jobs.get(job.namespace, job.name);
    const current = fresh?.metadata?.uid === job.uid && fresh !== undefined ? jobView(fresh) : undefined;
    const pods = current === undefined ? sighting.pods : await this.#freshPods(sighting);
    const verdict = judge(current ?? job, pods);
    if (verdict.kind !== "live") return verdict;
    return current === undefined ? ((await this.#outcomeOnRecord(record)) ?? deleted()) : undefined;
  }

  /** The pods that exist now, and the last status of those that do not. */
  async #freshPods(sighting: Sighting): Promise<PodView[]> {
    const { job, pods } = sighting;
    const listed = await this.#options.jobs.pods(job.namespace, `batch.kubernetes.io/controller-uid=${job.uid}`);
    const fresh = listed.map(podView);
    return [...fresh, ...pods.filter(({ uid }) => !fresh.some((pod) => pod.uid === uid))];
  }

  async #reportStart(sighting: Sighting, record: JobRecord): Promise<void> {
    const { uid } = sighting.job;
    if (this.#started.has(uid)) return;
    for (const pod of sighting.pods) {
      const main = mainContainer(pod);
      const startedAt = main === undefined ? undefined : startOf(main);
      if (startedAt === undefined) continue;
      await this.#options.store.events.started(record, startedAt, {
        name: pod.name,
        uid: pod.uid,
        ...(pod.node === undefined ? {} : { node: pod.node }),
      });
      this.#started.add(uid);
      return;
    }
  }

  /** J5: EVENTS and the DLQ remember an outcome that the record, restored from older data, does not know. */
  async #outcomeOnRecord(record: JobRecord): Promise<Ended | undefined> {
    const { events, deadLetters } = this.#options.store;
    if (await events.has(record, "succeeded")) return { kind: "succeeded", endedAt: record.updatedAt };
    if ((await events.has(record, "dead")) || (await deadLetters.has(record))) {
      return {
        kind: "failed",
        class: currentAttempt(record)?.class ?? "lost",
        reason: "it is in the DLQ already",
        endedAt: record.updatedAt,
      };
    }
    return undefined;
  }

  async #settle(record: JobRecord, job: Pick<JobReference, "uid">, verdict: Ended, ack: string | undefined): Promise<boolean> {
    const { store, metrics, log } = this.#options;
    const event = { kind: "attemptEnded", attempt: record.attempt, uid: job.uid, verdict, at: new Date().toISOString() } as const;
    const outcome = await store.settler.settle(record.hash, event, ack);
    if (outcome.kind === "refused") {
      log.warn("job.outcome-refused", { id: record.id, queue: record.queue, uid: job.uid, why: outcome.why });
      return false;
    }
    const { queue, id, attempt, state } = outcome.record;
    if (state === "succeeded") metrics.messagesProcessed.inc({ queue });
    else metrics.messagesFailed.inc({ queue });
    const detail = verdict.kind === "failed" ? { class: verdict.class, reason: verdict.reason } : {};
    log.info("job.settled", { id, queue, attempt, state, uid: job.uid, ...detail });
    return true;
  }

  /** F2: the record is terminal and this is its Job: whatever of settling was cut off is done again. */
  async #finishSettling(sighting: Sighting, identity: JobIdentity, record: JobRecord | undefined): Promise<void> {
    if (record === undefined) throw new MillraceError("INTERNAL", "F2 without a record");
    await this.#options.store.settler.finish(record, identity.ack);
    await this.#setTtl(sighting, identity, record.state === "succeeded" ? "succeeded" : "failed");
    this.#finished(sighting);
  }

  /** F4: no record wants this Job. Its message is never acknowledged because of it. */
  async #remove(sighting: Sighting, identity: JobIdentity): Promise<void> {
    const { namespace, name, uid } = sighting.job;
    this.#options.log.warn("job.unwanted", { id: identity.id, namespace, job: name, uid });
    if (!sighting.gone) await this.#options.jobs.delete(namespace, name, uid);
    this.#finished(sighting);
  }

  async #setTtl(sighting: Sighting, identity: JobIdentity, outcome: "succeeded" | "failed"): Promise<void> {
    const { job, gone } = sighting;
    if (gone || isSettled(job)) return;
    const keep = this.#options.config().queues[identity.queue]?.keep ?? KEEP_UNCONFIGURED;
    const seconds = identity.keepSeconds ?? Math.ceil(keep[outcome] / 1000);
    await this.#options.jobs.setTtl(job.namespace, job.name, job.uid, Math.max(seconds, KEEP_AT_LEAST_SECONDS));
  }

  #finished(sighting: Sighting): void {
    const { uid } = sighting.job;
    this.#started.delete(uid);
    this.#options.observer.forget(uid);
    if (sighting.gone) this.#done.delete(uid);
    else this.#done.add(uid);
  }
}

function isOver({ job, gone }: { readonly job: JobView; readonly gone: boolean }): boolean {
  return gone || job.completedAt !== undefined || job.failed !== undefined;
}

function isSettled(job: JobView): boolean {
  return job.annotations[ANNOTATION.settled] !== undefined;
}

function deleted(): Ended {
  return {
    kind: "failed",
    class: "deleted",
    reason: "the Job object was deleted by somebody",
    endedAt: new Date().toISOString(),
  };
}
