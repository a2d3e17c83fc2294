import { assertNever, MillraceError } from "../../libs/contract/errors.ts";
import { firstSightRule } from "../../libs/contract/first-sight.ts";
import { jobFields } from "../../libs/contract/job-fields.ts";
import { attemptSpan } from "../../libs/contract/job-span.ts";
import { ANNOTATION } from "../../libs/contract/names.ts";
import { type JobView, mainContainer } from "../../libs/contract/observation.ts";
import type { JobRecord, JobReference } from "../../libs/contract/record.ts";
import { retryConfig } from "../../libs/contract/retry-config.ts";
import type { WithoutPod } from "../../libs/contract/start-trouble.ts";
import { transition } from "../../libs/contract/transition.ts";
import { type Ended, startOf } from "../../libs/contract/verdict.ts";
import type { LiveConfig } from "../../libs/kube/dispatch-config-source.ts";
import type { JobsApi } from "../../libs/kube/jobs-api.ts";
import type { Log } from "../../libs/runtime/log.ts";
import { type Metrics, queueLabel } from "../../libs/runtime/metrics.ts";
import type { Traces } from "../../libs/runtime/trace.ts";
import type { JobStore } from "../../libs/streams/job-store.ts";
import type { StoredRecord } from "../../libs/streams/records.ts";
import type { AttemptJudge } from "./attempt-judge.ts";
import { countAttempt } from "./attempt-metrics.ts";
import { firstSightOf, type JobIdentity, jobIdentity, loggedJob } from "./job-identity.ts";
import type { MissingOutcome } from "./missing-outcome.ts";
import type { Observer, Sighting } from "./observer.ts";
import type { StartFailures } from "./start-failures.ts";

export interface ReconcilerOptions {
  readonly store: Pick<JobStore, "records" | "events" | "messages" | "settler">;
  readonly observer: Pick<Observer, "sighting" | "forget" | "laterJob" | "problemIn">;
  readonly judge: AttemptJudge;
  readonly missing: MissingOutcome;
  readonly startFailures: StartFailures;
  readonly jobs: Pick<JobsApi, "setTtl" | "delete">;
  readonly config: () => Pick<LiveConfig, "queues">;
  readonly nowMs: () => number;
  readonly random: () => number;
  readonly traces?: Traces | undefined;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** When the Job is to be looked at again although nothing changed; undefined: when something does. */
export type AgainInMs = number | undefined;

/** Evidence outlives the verdict by at least this, whatever a message asks for (design §4.2). */
const KEEP_AT_LEAST_SECONDS = 60;
const KEEP_UNCONFIGURED = { succeeded: 300_000, failed: 3_600_000 } as const;
const RETRY_UNCONFIGURED = retryConfig.parse({});
const UNWANTED_LOOK_MS = 5_000;

/**
 * Brings what is recorded of one Job in line with what is seen of it (rules F1–F5, J, S5). Level-triggered: it looks at the newest state
 * only, so it may be called for a Job at any time and any number of times, by two monitors at once.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  /** Jobs whose outcome is durable, or which are nobody's: their leases are not renewed. */
  readonly #done = new Set<string>();
  readonly #started = new Set<string>();
  /** Why a Job has no pod, as it was last reported. */
  readonly #withoutPod = new Map<string, WithoutPod["cause"]>();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  isDone(uid: string): boolean {
    return this.#done.has(uid);
  }

  async reconcile(uid: string): Promise<AgainInMs> {
    const sighting = this.#options.observer.sighting(uid);
    if (sighting === undefined) {
      this.#done.delete(uid);
      this.#withoutPod.delete(uid);
      return undefined;
    }
    const identity = jobIdentity(sighting.job);
    if (this.#done.has(uid) || isSettled(sighting.job)) {
      if (identity !== undefined) await this.#cancelLate(sighting, identity);
      return this.#finished(sighting);
    }
    if (identity === undefined) {
      this.#options.log.warn("job.without-identity", loggedJob(sighting.job));
      return this.#finished(sighting);
    }
    const stored = await this.#options.store.records.get(identity.hash);
    const rule = firstSightRule({ uid, ...identity, finished: isOver(sighting) }, stored?.record);
    switch (rule) {
      case "F1":
        return this.#firstSight(sighting, identity, stored);
      case "known":
        return this.#follow(sighting, identity, stored);
      case "F2":
        return this.#finishSettling(sighting, identity, stored?.record);
      case "F3":
        if (sighting.gone && !(await this.#options.judge.clearPods(sighting.job))) return UNWANTED_LOOK_MS;
        await this.#expire(sighting, identity, "failed");
        return this.#finished(sighting);
      case "F4":
        return this.#remove(sighting, identity);
      default:
        return assertNever(rule);
    }
  }

  /** P1: the Stop of a cancel that came while the attempt was being judged is for the retry that the verdict made. */
  async #cancelLate({ job }: Sighting, { id, hash, queue, attempt, life }: JobIdentity): Promise<void> {
    if (job.stop !== "cancelled") return;
    const { store, nowMs } = this.#options;
    const record = (await store.records.get(hash))?.record;
    const isItsRetry = record?.job?.uid === job.uid && record.attempt === attempt && record.life === life;
    if (!isItsRetry || record.state !== "retrying") return;
    const reason = job.annotations[ANNOTATION.stopReason] ?? "cancelled on request";
    await store.settler.settle(
      hash,
      { kind: "cancelled", id, hash, queue, reason, at: new Date(nowMs()).toISOString() },
      undefined,
    );
  }

  /** J5, for a record whose Job is not among those seen. Its reply subject is unknown then; the message is removed by its source. */
  async reconcileMissing(record: JobRecord, reference: JobReference): Promise<void> {
    const { judge } = this.#options;
    const job = await judge.get(reference.namespace, reference.name);
    if (job?.metadata?.uid === reference.uid || !(await judge.clearPods(reference))) return;
    await this.#settleMissing(record, reference.uid, undefined);
  }

  /** F1: the event first, so that a running record always has its created event. */
  async #firstSight(sighting: Sighting, identity: JobIdentity, stored: StoredRecord | undefined): Promise<AgainInMs> {
    const { store, log, nowMs } = this.#options;
    const moved = transition(stored?.record, firstSightOf(identity, sighting.job, new Date(nowMs()).toISOString()));
    if (moved.kind === "refused")
      throw new MillraceError("INTERNAL", `first sight of ${sighting.job.name} was refused: ${moved.why}`);
    await store.events.created(moved.record, await this.#bytesOf(moved.record), sighting.job.createdAt);
    if (moved.kind !== "moved") return this.#follow(sighting, identity, stored);
    const swap = await store.records.swap(moved.record, stored?.revision ?? 0);
    // Another monitor or another Job of the same id was first: look again at what it wrote.
    if (swap.kind === "lost") return this.reconcile(sighting.job.uid);
    log.info("job.recorded", jobFields(moved.record));
    return this.#follow(sighting, identity, { record: moved.record, revision: swap.revision });
  }

  /** Only the first attempt of a life carries the message. */
  async #bytesOf(record: JobRecord) {
    return record.attempt === record.budgetFrom ? this.#options.store.settler.findMessage(record) : undefined;
  }

  /** The record speaks of this Job: report its start, judge its end. */
  async #follow(sighting: Sighting, identity: JobIdentity, stored: StoredRecord | undefined): Promise<AgainInMs> {
    if (stored === undefined) throw new MillraceError("INTERNAL", "a known Job without a record");
    const { record } = stored;
    await this.#reportStart(sighting, record);
    const judgement = await this.#options.judge.judge(sighting, identity, this.#options.config().queues[identity.queue]);
    switch (judgement.kind) {
      case "live":
        return judgement.againInMs;
      case "withoutPod":
        await this.#reportWithoutPod(sighting, record, judgement);
        return judgement.againInMs;
      case "gone":
        await this.#settleMissing(record, sighting.job.uid, identity.ack);
        return this.#finished(sighting);
      case "ended":
        await this.#settle(record, sighting.job.uid, judgement.verdict, { identity, sighting, stored });
        // A suspended Job never finishes, and its ttl never fires (rule J3).
        if (judgement.stopped) await this.#delete(sighting);
        else await this.#expire(sighting, identity, judgement.verdict.kind === "succeeded" ? "succeeded" : "failed");
        return this.#finished(sighting);
      default:
        return assertNever(judgement);
    }
  }

  async #reportStart(sighting: Sighting, record: JobRecord): Promise<void> {
    const { store, startFailures, log } = this.#options;
    const { uid } = sighting.job;
    if (this.#started.has(uid)) return;
    for (const pod of sighting.pods) {
      const main = mainContainer(pod);
      const startedAt = main === undefined ? undefined : startOf(main);
      if (startedAt === undefined) continue;
      startFailures.started(record.queue);
      const { name, node } = pod;
      await store.events.started(record, startedAt, { name, uid: pod.uid, ...(node === undefined ? {} : { node }) });
      log.info("job.started", { ...jobFields(record), pod: name, startedAt, ...(node === undefined ? {} : { node }) });
      this.#started.add(uid);
      return;
    }
  }

  /** Once for each cause, however often it is looked at; and not from a watch that would not have seen the pod. */
  async #reportWithoutPod(
    { job }: Sighting,
    record: JobRecord,
    { cause, why }: Pick<WithoutPod, "cause" | "why">,
  ): Promise<void> {
    const { store, observer, log, nowMs } = this.#options;
    const { uid, namespace } = job;
    if (this.#withoutPod.get(uid) === cause || observer.problemIn(namespace) !== undefined) return;
    if (cause === "behind") {
      log.info("job.without-pod", { ...jobFields(record), reason: why });
    } else if (record.source !== undefined) {
      const at = new Date(nowMs()).toISOString();
      await store.events.blocked(record, record.source, { namespace, reason: why, at });
      log.warn("job.blocked", { ...jobFields(record), reason: why });
    }
    this.#withoutPod.set(uid, cause);
  }

  async #settle(
    record: JobRecord,
    uid: string,
    verdict: Ended,
    seen?: { readonly identity: JobIdentity; readonly sighting: Sighting; readonly stored: StoredRecord },
  ): Promise<void> {
    const { store, config, startFailures, traces, nowMs, random } = this.#options;
    const queue = config().queues[record.queue];
    if (verdict.kind === "failed" && verdict.class === "neverStarted") startFailures.neverStarted(record.queue, record.hash);
    const policy = {
      config: queue?.retry ?? RETRY_UNCONFIGURED,
      attempts: seen?.identity.attempts,
      final: queue === undefined ? "its queue is not configured any more, so it is not tried again" : undefined,
      blocked: startFailures.isBlocked(record.queue),
      random: random(),
    };
    const at = new Date(nowMs()).toISOString();
    const event = { kind: "attemptEnded", attempt: record.attempt, uid, verdict, policy, at } as const;
    const outcome = await store.settler.settle(record.hash, event, seen?.identity.ack, seen?.stored);
    if (outcome.kind === "refused") {
      throw new MillraceError("OUTCOME_REFUSED", `the outcome of attempt ${record.attempt} was refused: ${outcome.why}`);
    }
    traces?.add(attemptSpan(outcome.record, seenOf(seen?.sighting)));
    if (outcome.first) this.#report(outcome.record, verdict, seen?.sighting.job.createdAt);
  }

  #report(record: JobRecord, verdict: Ended, createdAt: string | undefined): void {
    const { metrics, config, log } = this.#options;
    const { state, next } = record;
    countAttempt(metrics, { queue: queueLabel(record.queue, config().queues), state, verdict, createdAt });
    const why = verdict.kind === "failed" ? { class: verdict.class, reason: verdict.reason } : {};
    const again = next === undefined ? {} : { notBefore: next.notBefore };
    log.info(`job.${state}`, { ...jobFields(record), ...why, ...again });
  }

  /** J5. */
  async #settleMissing(record: JobRecord, uid: string, ack: string | undefined): Promise<void> {
    const { store, missing, observer, log, nowMs } = this.#options;
    // A later Job of the id brings the record to itself (rule F5).
    if (observer.laterJob(record) !== undefined) return;
    const known = await missing.of(record);
    if (known === undefined) {
      const endedAt = new Date(nowMs()).toISOString();
      const reason = "its Job object was deleted by somebody, or with its namespace";
      await this.#settle(record, uid, { kind: "failed", class: "deleted", reason, endedAt });
      return;
    }
    log.warn("job.outcome-found", { ...jobFields(record), outcome: known.kind });
    await store.settler.settle(record.hash, known, ack);
  }

  /** F2: the record is past this Job's attempt: whatever of settling was cut off is done again, after a Stop if it still lives. */
  async #finishSettling(sighting: Sighting, identity: JobIdentity, record: JobRecord | undefined): Promise<AgainInMs> {
    if (record === undefined) throw new MillraceError("INTERNAL", "F2 without a record");
    const { store, judge, config, traces } = this.#options;
    const { job } = sighting;
    const standing = isOver(sighting)
      ? ({ kind: "ended", stopped: job.suspended } as const)
      : await judge.judge(sighting, identity, config().queues[identity.queue]);
    if (standing.kind === "live" || standing.kind === "withoutPod") {
      await judge.stop(sighting, "lost", "its record is past this attempt");
      return UNWANTED_LOOK_MS;
    }
    await store.settler.finish(record, identity.ack);
    traces?.add(attemptSpan(record, seenOf(sighting)));
    if (standing.kind === "ended" && standing.stopped) await this.#delete(sighting);
    else await this.#expire(sighting, identity, record.state === "succeeded" ? "succeeded" : "failed");
    return this.#finished(sighting);
  }

  /** F4: no record wants this Job. Its message is never acknowledged because of it. */
  async #remove(sighting: Sighting, identity: JobIdentity): Promise<AgainInMs> {
    const { judge, log } = this.#options;
    const { job } = sighting;
    log.warn("job.unwanted", jobFields({ ...identity, job }));
    if (!sighting.gone) await judge.stop(sighting, "lost", "no record wants this Job");
    // Of a Job that was deleted with `--cascade=orphan` the pods run on.
    if (!(await (sighting.gone ? judge.clearPods(job) : judge.hasEnded(job)))) return UNWANTED_LOOK_MS;
    await this.#delete(sighting);
    return this.#finished(sighting);
  }

  async #expire(sighting: Sighting, identity: JobIdentity, outcome: "succeeded" | "failed"): Promise<void> {
    const { job, gone } = sighting;
    if (gone || isSettled(job)) return;
    const keep = this.#options.config().queues[identity.queue]?.keep ?? KEEP_UNCONFIGURED;
    const seconds = identity.keepSeconds ?? Math.ceil(keep[outcome] / 1000);
    await this.#options.jobs.setTtl(job.namespace, job.name, job.uid, Math.max(seconds, KEEP_AT_LEAST_SECONDS));
  }

  async #delete({ job, gone }: Sighting): Promise<void> {
    if (!gone) await this.#options.jobs.delete(job.namespace, job.name, job.uid);
  }

  #finished(sighting: Sighting): undefined {
    const { uid } = sighting.job;
    this.#started.delete(uid);
    this.#withoutPod.delete(uid);
    this.#options.judge.forget(uid);
    this.#options.observer.forget(uid);
    if (sighting.gone) this.#done.delete(uid);
    else this.#done.add(uid);
  }
}

/** What of an attempt its record does not keep. */
function seenOf(sighting: Sighting | undefined): { readonly createdAt?: string; readonly pod?: string } {
  if (sighting === undefined) return {};
  const [newest] = [...sighting.pods].sort((a, b) => b.createdAt.localeCompare(a.createdAt));
  return { createdAt: sighting.job.createdAt, ...(newest === undefined ? {} : { pod: newest.name }) };
}

function isOver({ job, gone }: { readonly job: JobView; readonly gone: boolean }): boolean {
  return gone || job.completedAt !== undefined || job.failed !== undefined;
}

function isSettled(job: JobView): boolean {
  return job.annotations[ANNOTATION.settled] !== undefined;
}
