import { dispatchRule } from "../../libs/contract/dispatch-rule.ts";
import { assertNever, errorText } from "../../libs/contract/errors.ts";
import { jobFields } from "../../libs/contract/job-fields.ts";
import { ownTraceparent } from "../../libs/contract/job-trace.ts";
import { rejected } from "../../libs/contract/message.ts";
import { ANNOTATION, type Instance, LABEL } from "../../libs/contract/names.ts";
import type { QueueConfig } from "../../libs/contract/queue-config.ts";
import type { JobRecord, JobReference } from "../../libs/contract/record.ts";
import { parseAckSubject, sameSource, sourceKey } from "../../libs/contract/source.ts";
import { isKubeApiError } from "../../libs/kube/errors.ts";
import type { JobsApi } from "../../libs/kube/jobs-api.ts";
import type { Service } from "../../libs/runtime/lifecycle.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";
import { isBrokerTrouble, isUnreadableRecord } from "../../libs/streams/errors.ts";
import type { JobEvents } from "../../libs/streams/job-events.ts";
import type { SourceMessages } from "../../libs/streams/messages.ts";
import type { RecordStore, StoredRecord } from "../../libs/streams/records.ts";
import type { Settler } from "../../libs/streams/settle.ts";
import { type Delivery, openDelivery, type PulledMessage } from "./delivery.ts";
import { Posting, type PostingOptions, RECORD_FRESH_MS } from "./posting.ts";
import type { Rejections } from "./rejections.ts";

export interface DispatcherOptions extends PostingOptions {
  readonly instance: Instance;
  readonly jobs: Pick<JobsApi, "create" | "get">;
  readonly records: Pick<RecordStore, "get" | "getMany">;
  readonly events: Pick<JobEvents, "duplicate" | "blocked">;
  readonly settler: Pick<Settler, "settle" | "repeatEffects">;
  readonly messages: Pick<SourceMessages, "read">;
  readonly rejections: Rejections;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** How soon a message that could not be decided now is delivered again. */
const HOLD_MS = 5_000;
/** D9: a message on which the handling failed so often, or which came so often and still has nothing, is at fault itself. */
const FAILURES_AT_MOST = 5;
const DELIVERIES_AT_MOST = 20;

/**
 * Decides each delivery by rules D1–D11. Stateless but for what it holds: everything it knows it reads, so any number of dispatchers may work on
 * one queue and each may die at any point. Every path ends in exactly one of: a Job that holds the message, an acknowledgement after the effects
 * that justify it, or a hold.
 */
export class Dispatcher implements Service {
  readonly name = "dispatcher";
  readonly #options: DispatcherOptions;
  readonly #posting: Posting;
  readonly #failures = new Map<string, number>();
  readonly #again = new Set<Promise<void>>();

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#posting = new Posting(options, (delivery) => this.#decideAgain(delivery));
  }

  start(): Promise<void> {
    this.#posting.start();
    return Promise.resolve();
  }

  /** Hands back what is held and waits for what is under way. The pull loops have ended. */
  async stop(): Promise<void> {
    await this.#posting.stop();
    await Promise.all(this.#again);
  }

  /** What is blocked, for people: it is nothing that makes this process unfit. */
  blocked(): ReturnType<Posting["blocked"]> {
    return this.#posting.blocked();
  }

  /** Brings `millrace_blocked_seconds_total` up to now. */
  countBlockedTime(): void {
    this.#posting.countBlockedTime();
  }

  /** How many POSTs may be under way at once, as the API server bears it. */
  get postLimit(): number {
    return this.#posting.postLimit;
  }

  /** How long ago the API server last answered a POST, or was given up. */
  get sinceTurnMs(): number {
    return this.#posting.sinceTurnMs;
  }

  /** One batch of one queue. Never throws: a message whose handling fails is delivered again. */
  async dispatch(messages: readonly PulledMessage[], queue: string, config: QueueConfig): Promise<void> {
    const { instance, records, rejections, metrics, log } = this.#options;
    const deliveries: Delivery[] = [];
    const handled: Promise<void>[] = [];
    for (const message of messages) {
      if (message.deliveries > 1) metrics.redeliveries.inc({ queue });
      const outcome = openDelivery(message, instance, queue);
      if (outcome.kind === "ok") deliveries.push(this.#traced(outcome.value));
      else handled.push(this.#guarded(message, () => rejections.reject(message, queue, undefined, outcome.rejection)));
    }
    let read: Map<string, StoredRecord>;
    const unreadable = new Set<string>();
    const readAtMs = this.#options.clock.nowMs();
    try {
      read = await records.getMany(
        deliveries.map(({ hash }) => hash),
        (hash) => unreadable.add(hash),
      );
    } catch (error) {
      metrics.dispatchFailures.inc(deliveries.length);
      log.warn("dispatch.records-unread", { queue, problem: errorText(error) });
      for (const { message } of deliveries) message.nak(HOLD_MS);
      await Promise.all(handled);
      return;
    }
    for (const delivery of deliveries) {
      if (unreadable.has(delivery.hash)) {
        this.#hold(delivery, "its record cannot be read");
        continue;
      }
      const known = read.get(delivery.hash)?.record;
      handled.push(this.#guarded(delivery.message, () => this.#decide(delivery, config, known, readAtMs), delivery));
    }
    await Promise.all(handled);
  }

  /** A job whose producer traces nothing gets a trace of its own: the same from every dispatcher, for every attempt of its life. */
  #traced(delivery: Delivery): Delivery {
    const { traces } = this.#options;
    if (delivery.traceparent !== undefined || traces === undefined) return delivery;
    return { ...delivery, traceparent: ownTraceparent(delivery, traces.sampleRatio) };
  }

  /** A held message whose turn has come, or whose block has ended. */
  #decideAgain(delivery: Delivery): void {
    const config = this.#options.admission.queue(delivery.queue);
    const decide = async (): Promise<void> => {
      if (config !== undefined) return this.#decideFreshly(delivery, config);
      this.#posting.drop(delivery);
      delivery.message.nak(HOLD_MS);
    };
    const work = this.#guarded(delivery.message, decide, delivery).finally(() => this.#again.delete(work));
    this.#again.add(work);
  }

  async #guarded(message: PulledMessage, work: () => Promise<void>, delivery?: Delivery): Promise<void> {
    const key = sourceKey(message.source);
    try {
      await work();
      this.#failures.delete(key);
    } catch (error) {
      if (delivery !== undefined) this.#posting.drop(delivery);
      this.#options.metrics.dispatchFailures.inc();
      this.#options.log.error("dispatch.failed", { ...fieldsOf(delivery), source: message.source, error });
      await this.#failed(message, key, error, delivery);
    }
  }

  /** D9: neither the broker nor the API server was in trouble, so it is the message that this code cannot handle. */
  async #failed(message: PulledMessage, key: string, error: unknown, delivery: Delivery | undefined): Promise<void> {
    const isOthers = isKubeApiError(error) || isBrokerTrouble(error) || isUnreadableRecord(error);
    const failures = isOthers ? 0 : (this.#failures.get(key) ?? 0) + 1;
    if (failures > 0) this.#failures.set(key, failures);
    if (failures < FAILURES_AT_MOST) return message.nak(HOLD_MS);
    this.#failures.delete(key);
    try {
      const record = delivery === undefined ? undefined : (await this.#options.records.get(delivery.hash))?.record;
      const reason = `its handling failed ${failures} times: ${errorText(error).slice(0, 200)}`;
      await this.#refuseInternal(message, delivery, record, reason);
    } catch (cause) {
      this.#options.log.error("dispatch.not-rejected", { ...fieldsOf(delivery), source: message.source, error: cause });
      message.nak(HOLD_MS);
    }
  }

  async #decide(delivery: Delivery, config: QueueConfig, read: JobRecord | undefined, readAtMs: number): Promise<void> {
    const stale = this.#options.clock.nowMs() - readAtMs > RECORD_FRESH_MS;
    // D2: a direct read may be stale, so only "there is no record" is acted on without asking the leader.
    if (read !== undefined || stale || delivery.isRetry) return this.#decideFreshly(delivery, config);
    return this.#decideBy(delivery, config, undefined);
  }

  async #decideFreshly(delivery: Delivery, config: QueueConfig): Promise<void> {
    return this.#decideBy(delivery, config, (await this.#options.records.get(delivery.hash))?.record);
  }

  async #decideBy(delivery: Delivery, config: QueueConfig, record: JobRecord | undefined): Promise<void> {
    const decision = dispatchRule(delivery, record);
    if (decision.rule !== "D4") this.#posting.drop(delivery);
    switch (decision.rule) {
      case "D3":
        return this.#conflict(delivery);
      case "D4":
        if (decision.follow) return this.#follow(delivery, config);
        return this.#post(delivery, config, record);
      case "D5":
        return this.#inspect(delivery, decision.job, record);
      case "D6":
        return record === undefined ? this.#hold(delivery, "its record vanished") : this.#repeat(delivery, record);
      default:
        return assertNever(decision);
    }
  }

  /** D4: the record was restored from older data than the message; it follows, then it is decided again. */
  async #follow(delivery: Delivery, config: QueueConfig): Promise<void> {
    const { id, hash, queue, type, messageHash, source, attempt, life, traceparent, memory } = delivery;
    const at = new Date(this.#options.nowMs()).toISOString();
    const job = { id, hash, queue, type, messageHash, source, attempt, life, traceparent, memory };
    await this.#options.settler.settle(hash, { kind: "followed", ...job, at }, undefined);
    await this.#decideFreshly(delivery, config);
  }

  async #post(delivery: Delivery, config: QueueConfig, record: JobRecord | undefined): Promise<void> {
    const outcome = await this.#posting.post(delivery, config, record);
    if (outcome.kind === "exists") return this.#inspect(delivery, outcome.job, record);
    if (outcome.kind === "outdated") return this.#decideFreshly(delivery, config);
  }

  /** D5, D7: a Job of this id exists. What it carries tells whether this message is its own, a duplicate, or somebody else's. */
  async #inspect(delivery: Delivery, reference: JobReference, record: JobRecord | undefined): Promise<void> {
    const job = await this.#options.jobs.get(reference.namespace, reference.name);
    if (job === undefined) return this.#hold(delivery, "its Job is gone; the monitor judges that");
    const annotations = job.metadata?.annotations ?? {};
    const ours = job.metadata?.labels?.[LABEL.instance] === this.#options.instance;
    if (!ours || annotations[ANNOTATION.messageHash] !== delivery.messageHash) return this.#conflict(delivery);
    const owner = parseAckSubject(annotations[ANNOTATION.ack] ?? "");
    if (owner === undefined) return this.#holdAtMost(delivery, record, "the annotations of its Job were edited");
    if (sameSource(owner, delivery.source)) return delivery.message.working();
    // The message that the Job was made of may be gone: put to sleep by a dispatcher while another one posted. Then this one holds the job.
    if ((await this.#options.messages.read(owner)) === undefined) return delivery.message.working();
    await this.#duplicate(delivery, Number(job.metadata?.labels?.[LABEL.attempt] ?? "1"));
  }

  /** D6: nothing is acknowledged because of a record whose effects are not known to be there. */
  async #repeat(delivery: Delivery, record: JobRecord): Promise<void> {
    const { settler, nowMs } = this.#options;
    const { message, source, type, messageHash, hash, traceparent } = delivery;
    if (record.state === "cancelled" && record.messageHash === "") {
      const at = new Date(nowMs()).toISOString();
      const event = { kind: "adopted", type, messageHash, source, traceparent, at } as const;
      const adopted = await settler.settle(hash, event, message.replySubject);
      if (adopted.kind === "refused") this.#hold(delivery, adopted.why);
      return;
    }
    await settler.repeatEffects(record);
    const own = record.attempts.some(({ source: of }) => of === sourceKey(source));
    if (own || (record.source !== undefined && sameSource(record.source, source))) await message.ackAck();
    else await this.#duplicate(delivery, record.attempt);
  }

  async #duplicate(delivery: Delivery, attempt: number): Promise<void> {
    const { events, metrics, log, nowMs } = this.#options;
    const { id, hash, queue, source, traceparent } = delivery;
    await events.duplicate({ id, hash, queue, attempt, traceparent }, source, new Date(nowMs()).toISOString());
    await delivery.message.ackAck();
    metrics.duplicates.inc({ queue });
    log.info("message.duplicate", { ...jobFields({ ...delivery, attempt }), source });
  }

  async #conflict(delivery: Delivery): Promise<void> {
    const text = "another message with a different body has this id; publish it under an id of its own";
    const { rejection } = rejected("ID_CONFLICT", "id", text);
    this.#posting.drop(delivery);
    await this.#options.rejections.reject(delivery.message, delivery.queue, delivery.id, rejection);
  }

  #hold(delivery: Delivery, why: string): void {
    delivery.message.nak(HOLD_MS);
    this.#options.log.warn("message.held", { ...jobFields(delivery), source: delivery.source, why });
  }

  /** D9. */
  async #holdAtMost(delivery: Delivery, record: JobRecord | undefined, why: string): Promise<void> {
    if (delivery.message.deliveries <= DELIVERIES_AT_MOST || record?.state === "running") return this.#hold(delivery, why);
    await this.#refuseInternal(
      delivery.message,
      delivery,
      record,
      `${why}, and it was delivered ${delivery.message.deliveries} times`,
    );
  }

  async #refuseInternal(
    message: PulledMessage,
    delivery: Delivery | undefined,
    record: JobRecord | undefined,
    reason: string,
  ): Promise<void> {
    const { rejections } = this.#options;
    const { rejection } = rejected("INTERNAL", "", reason);
    const queue = delivery?.queue ?? message.subject.split(".")[message.source.stream === "RETRY" ? 2 : 1] ?? "";
    if (delivery === undefined) await rejections.reject(message, queue, undefined, rejection);
    else await rejections.refuse(delivery, record, rejection);
  }
}

function fieldsOf(delivery: Delivery | undefined) {
  return delivery === undefined ? {} : jobFields(delivery);
}
