import { dispatchRule } from "../../libs/contract/dispatch-rule.ts";
import { jobFields } from "../../libs/contract/job-fields.ts";
import { dispatchSpan } from "../../libs/contract/job-span.ts";
import { attemptContext } from "../../libs/contract/job-trace.ts";
import { rejected } from "../../libs/contract/message.ts";
import { type Instance, jobName } from "../../libs/contract/names.ts";
import { type QueueConfig, retrySlotsOf } from "../../libs/contract/queue-config.ts";
import type { JobRecord, JobReference } from "../../libs/contract/record.ts";
import { sourceKey } from "../../libs/contract/source.ts";
import { traceparentText } from "../../libs/contract/traceparent.ts";
import { isForbidden, isKubeApiError, type KubeApiError } from "../../libs/kube/errors.ts";
import { jobManifest } from "../../libs/kube/job-manifest.ts";
import type { JobsApi } from "../../libs/kube/jobs-api.ts";
import type { Clock } from "../../libs/runtime/clock.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";
import type { Traces } from "../../libs/runtime/trace.ts";
import type { Broker } from "../../libs/streams/broker.ts";
import type { JobEvents } from "../../libs/streams/job-events.ts";
import type { RecordStore } from "../../libs/streams/records.ts";
import type { Retries } from "../../libs/streams/retries.ts";
import type { Settler } from "../../libs/streams/settle.ts";
import type { Admission, Admitted } from "./admission.ts";
import { blockCause } from "./block-cause.ts";
import { Blockages } from "./blockage.ts";
import type { BlockReason } from "./blockage-options.ts";
import type { Delivery } from "./delivery.ts";
import { DispatchLatency } from "./dispatch-latency.ts";
import { PostGate, type Release } from "./post-gate.ts";
import { Postponement } from "./postponement.ts";
import type { Rejections } from "./rejections.ts";

export interface PostingOptions {
  readonly instance: Instance;
  readonly admission: Admission;
  readonly jobs: Pick<JobsApi, "create" | "get">;
  readonly broker: Pick<Broker, "clockOffsetMs">;
  readonly records: Pick<RecordStore, "get">;
  readonly events: Pick<JobEvents, "blocked">;
  readonly settler: Pick<Settler, "settle">;
  readonly retries: Pick<Retries, "hasRoom">;
  readonly rejections: Rejections;
  /** Told of a namespace whose quota is used up: settled Jobs there may be deleted for room. */
  readonly onNamespaceFull: (namespace: string) => void;
  readonly ackWaitMs: number;
  readonly clock: Clock;
  readonly nowMs: () => number;
  readonly random: () => number;
  /** Where spans go; without it the producer's trace is passed on to the pod as it is. */
  readonly traces?: Traces | undefined;
  readonly metrics: Metrics;
  readonly log: Log;
}

export type PostOutcome =
  /** A Job holds the message, or the message is settled, or it is held here. */
  | { readonly kind: "done" }
  /** D7: a Job of that name exists already. */
  | { readonly kind: "exists"; readonly job: JobReference }
  /** D2: the record moved on while the message waited for its turn. */
  | { readonly kind: "outdated" };

/** Text in quotes may be the producer's; reasons never carry payload. */
const QUOTED = /"(?:[^"\\]|\\.)*"/g;
/** What one dispatcher holds of a queue's slots for a blocked namespace: with two of them half is left for the queue's other namespaces. */
const HELD_SHARE = 4;
/** NAKed, a message whose handling failed stays where it is. */
const FAILED_MS = 5_000;

/** D2: an older read of the record is not trusted before a POST. */
export const RECORD_FRESH_MS = 5_000;

const DONE: PostOutcome = { kind: "done" };

/**
 * Makes the Job of one attempt (rules D4, D7, D8, D10).
 *
 *   admitted → asleep until runAt | held (its namespace is blocked) → waiting for a turn → POST → created | exists | refused | held
 *
 * What is held keeps its lease and is handed to `onAgain` when it is to be decided anew; held for longer than ack_wait it is put to sleep in
 * RETRY, as long as there is room.
 */
export class Posting {
  readonly #options: PostingOptions;
  readonly #gate: PostGate;
  readonly #blockages: Blockages<Delivery>;
  readonly #postponement: Postponement;
  readonly #latency: DispatchLatency;
  readonly #stop = new AbortController();
  readonly #aside = new Set<Promise<void>>();
  readonly #announced = new WeakSet<Delivery>();
  #renewal: NodeJS.Timeout | undefined;

  constructor(options: PostingOptions, onAgain: (delivery: Delivery) => void) {
    this.#options = options;
    this.#gate = new PostGate({ clock: options.clock });
    this.#postponement = new Postponement(options);
    this.#latency = new DispatchLatency(options);
    this.#blockages = new Blockages<Delivery>({
      clock: options.clock,
      id: ({ source }) => sourceKey(source),
      holdAtMost: ({ queue }, { isRetry }) => {
        const config = options.admission.queue(queue);
        if (config === undefined) return 1;
        return Math.floor((isRetry ? retrySlotsOf(config) : config.slots) / HELD_SHARE);
      },
      holdForMs: options.ackWaitMs,
      onProbe: (delivery) => onAgain(delivery),
      onRelease: (deliveries) => {
        for (const delivery of deliveries) onAgain(delivery);
      },
      onRefused: (delivery, why) => this.#settleAside(delivery, this.#refuseForGood(delivery, why)),
      refusedBefore: ({ refused }) => refused,
      onOverdue: (delivery, because, refused) => {
        if (because === "stopped") delivery.message.nak();
        else this.#settleAside(delivery, this.#postponement.whileBlocked({ ...delivery, refused }));
      },
      onBlocked: (reason) => options.log.warn("dispatch.blocked", { ...reason }),
      onClosedFor: (key, cause, closedMs) => options.metrics.blockedSeconds.inc({ ...key, reason: cause }, closedMs / 1000),
      random: options.random,
    });
  }

  start(): void {
    const renew = (): void => {
      for (const { message } of this.#blockages.renewable()) message.working();
    };
    this.#renewal ??= setInterval(renew, this.#options.ackWaitMs / 3);
  }

  /** Hands back what is held. */
  async stop(): Promise<void> {
    clearInterval(this.#renewal);
    this.#stop.abort();
    for (const { message } of this.#blockages.stop()) message.nak();
    await Promise.all(this.#aside);
  }

  get postLimit(): number {
    return this.#gate.limit;
  }

  get sinceTurnMs(): number {
    return this.#gate.sinceTurnMs;
  }

  /** Brings `millrace_blocked_seconds_total` up to now. */
  countBlockedTime(): void {
    this.#blockages.count();
  }

  blocked(): BlockReason[] {
    return this.#blockages.reasons();
  }

  /** The message was decided without a POST, or its handling failed. */
  drop(delivery: Delivery): void {
    this.#blockages.drop(delivery);
  }

  async post(delivery: Delivery, queue: QueueConfig, record: JobRecord | undefined): Promise<PostOutcome> {
    const { admission, rejections } = this.#options;
    const admitted = admission.admit(delivery.opened, queue);
    if (admitted.kind === "rejected") {
      this.drop(delivery);
      const made = record === undefined ? await this.#madeBefore(delivery, queue) : undefined;
      if (made !== undefined) return { kind: "exists", job: made };
      await rejections.refuse(delivery, record, admitted.rejection);
      return DONE;
    }
    const { runAtMs, job } = admitted.value;
    if (!delivery.isRetry && runAtMs !== undefined) {
      // The moment is meant by NATS' clock, which wakes what sleeps; what is told to others is told by ours (rule S6).
      const ownMs = runAtMs - (await this.#options.broker.clockOffsetMs());
      if (ownMs > this.#options.nowMs()) {
        this.drop(delivery);
        await this.#postponement.until(delivery, ownMs, `starts at ${new Date(runAtMs).toISOString()}`);
        return DONE;
      }
    }
    const key = { queue: delivery.queue, namespace: job.namespace };
    const askedAtMs = this.#options.clock.nowMs();
    const release = await this.#gate.enter({
      queue: delivery.queue,
      weight: queue.weight,
      retry: delivery.isRetry,
      signal: this.#stop.signal,
    });
    if (release === undefined) {
      this.drop(delivery);
      delivery.message.nak();
      return DONE;
    }
    if (this.#options.clock.nowMs() - askedAtMs > RECORD_FRESH_MS && !(await this.#isStillWanted(delivery, release))) {
      return { kind: "outdated" };
    }
    // Asked only with a turn in hand, and nothing is awaited before the POST: what was let through is posted into what was seen.
    if (this.#blockages.admit(key, delivery) === "hold") {
      release("refused");
      const why = this.blocked().find((reason) => reason.queue === key.queue && reason.namespace === key.namespace)?.why ?? "";
      await this.#announce(delivery, job.namespace, why);
      return DONE;
    }
    try {
      await this.#create(delivery, admitted.value, queue);
      release("ok");
      this.#blockages.report(key, delivery, { kind: "accepted" });
      return DONE;
    } catch (error) {
      const overloaded = isKubeApiError(error) && (error.status === 0 || error.status === 429 || error.status >= 500);
      release(overloaded ? "overload" : "refused", isKubeApiError(error) ? error.retryAfterMs : undefined);
      if (!isKubeApiError(error)) throw error;
      return this.#refused(error, delivery, job.namespace, job.prefix, record);
    }
  }

  /**
   * D1: what may not run any more, because its template or policy was changed, may run already: made when it was delivered before, and not
   * recorded yet. A namespace that cannot be read is one in which nothing of it was made.
   */
  async #madeBefore(delivery: Delivery, queue: QueueConfig): Promise<JobReference | undefined> {
    const { admission, jobs } = this.#options;
    const place = delivery.message.deliveries > 1 ? admission.placeOf(delivery.opened, queue) : undefined;
    if (place === undefined) return undefined;
    const name = jobName(place.prefix, delivery.hash, delivery.attempt);
    try {
      const job = await jobs.get(place.namespace, name);
      return job === undefined ? undefined : { namespace: place.namespace, name, uid: "" };
    } catch (error) {
      if (isForbidden(error)) return undefined;
      throw error;
    }
  }

  /** Gives the turn back when it is not, and when nobody can tell. */
  async #isStillWanted(delivery: Delivery, release: Release): Promise<boolean> {
    try {
      const decision = dispatchRule(delivery, (await this.#options.records.get(delivery.hash))?.record);
      if (decision.rule === "D4" && !decision.follow) return true;
    } catch (error) {
      release("refused");
      throw error;
    }
    release("refused");
    return false;
  }

  async #create(delivery: Delivery, { job }: Admitted, queue: QueueConfig): Promise<void> {
    const { instance, jobs, traces, metrics, log, nowMs } = this.#options;
    const { id, hash, type, attempt, life, messageHash, message, memory, traceparent } = delivery;
    const podTrace = podTraceOf(delivery, traces !== undefined);
    const identity = {
      instance,
      queue: delivery.queue,
      type,
      id,
      hash,
      attempt,
      life,
      messageHash,
      traceparent,
      podTrace,
      memory,
    };
    const created = await jobs.create(job.namespace, jobManifest({ ...identity, ack: message.replySubject }, job, queue));
    void this.#latency.observe(delivery.queue, delivery.source, this.#options.nowMs());
    metrics.jobsCreated.inc({ queue: delivery.queue });
    const { name = "", uid = "" } = created.metadata ?? {};
    const reference = { namespace: job.namespace, name, uid };
    traces?.add(dispatchSpan(delivery, reference, nowMs()));
    log.info("job.created", jobFields({ ...delivery, job: reference }));
  }

  async #refused(
    error: KubeApiError,
    delivery: Delivery,
    namespace: string,
    prefix: string,
    record: JobRecord | undefined,
  ): Promise<PostOutcome> {
    const { jobs, rejections, onNamespaceFull } = this.#options;
    const key = { queue: delivery.queue, namespace };
    const job = { namespace, name: jobName(prefix, delivery.hash, delivery.attempt), uid: "" };
    const why = error.message.replace(QUOTED, '"…"').slice(0, 400);
    if (error.isAlreadyExists()) {
      this.#blockages.report(key, delivery, { kind: "accepted" });
      return { kind: "exists", job };
    }
    if (!error.isBlocked()) {
      this.drop(delivery);
      // What is refused today may have been accepted when it was delivered before, and nobody has recorded that Job yet.
      if ((await jobs.get(namespace, job.name)) !== undefined) return { kind: "exists", job };
      await rejections.refuse(delivery, record, rejected("API_REJECTED", "", why).rejection);
      return DONE;
    }
    if (error.isQuota()) onNamespaceFull(namespace);
    // A full namespace refuses everybody: that others were luckier says nothing against this one.
    this.#blockages.report(key, delivery, {
      kind: "blocked",
      why,
      status: error.status,
      cause: blockCause(error),
      counts: error.status === 403 && !error.isQuota(),
    });
    await this.#announce(delivery, namespace, why);
    return DONE;
  }

  /** D8: it is the message that this namespace never takes. */
  async #refuseForGood(delivery: Delivery, why: string): Promise<void> {
    const { records, rejections } = this.#options;
    const { rejection } = rejected("API_REFUSED", "", `refused again and again while others were accepted: ${why}`);
    await rejections.refuse(delivery, (await records.get(delivery.hash))?.record, rejection);
  }

  /** What becomes of a message that is not held here any more; whoever stops waits for it. */
  #settleAside(delivery: Delivery, work: Promise<void>): void {
    const settled = work
      .catch((error: unknown) => {
        this.#options.log.warn("dispatch.not-settled", { ...jobFields(delivery), error });
        delivery.message.nak(FAILED_MS);
      })
      .finally(() => this.#aside.delete(settled));
    this.#aside.add(settled);
  }

  /** Once for each delivery that is held: so that people can see what it waits for. */
  async #announce(delivery: Delivery, namespace: string, reason: string): Promise<void> {
    if (this.#announced.has(delivery)) return;
    this.#announced.add(delivery);
    const at = new Date(this.#options.nowMs()).toISOString();
    await this.#options.events.blocked(delivery, delivery.source, { namespace, reason, at });
  }
}

/** The attempt's span is the parent of whatever runs in the pod, if it will be told; otherwise the producer's stays. */
function podTraceOf(delivery: Delivery, isTold: boolean) {
  const { traceparent: given, opened, attempt } = delivery;
  if (given === undefined) return undefined;
  const context = isTold ? attemptContext(delivery, attempt, "attempt") : undefined;
  return { traceparent: context === undefined ? given : traceparentText(context), tracestate: opened.tracestate };
}
