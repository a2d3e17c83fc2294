import type { JsMsg } from "@nats-io/jetstream";
import { dispatchRule } from "../../libs/contract/dispatch-rule.ts";
import { assertNever, errorText } from "../../libs/contract/errors.ts";
import { type Rejection, rejected } from "../../libs/contract/message.ts";
import { ANNOTATION, type Instance, LABEL } from "../../libs/contract/names.ts";
import type { QueueConfig } from "../../libs/contract/queue-config.ts";
import { isTerminal, type JobRecord, type JobReference } from "../../libs/contract/record.ts";
import { parseAckSubject, sameSource } from "../../libs/contract/source.ts";
import { parseJobSubject } from "../../libs/contract/subjects.ts";
import { isKubeApiError, type KubeApiError } from "../../libs/kube/errors.ts";
import { jobManifest, validTraceparent } from "../../libs/kube/job-manifest.ts";
import type { JobsApi } from "../../libs/kube/jobs-api.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";
import type { DeadLetters } from "../../libs/streams/dead-letters.ts";
import type { JobEvents } from "../../libs/streams/job-events.ts";
import { headerValues, replySubject } from "../../libs/streams/messages.ts";
import type { RecordStore, StoredRecord } from "../../libs/streams/records.ts";
import type { Settler } from "../../libs/streams/settle.ts";
import type { Admission } from "./admission.ts";
import { type Delivery, openDelivery, sourceOf } from "./delivery.ts";

export interface DispatcherOptions {
  readonly instance: Instance;
  readonly admission: Admission;
  readonly jobs: JobsApi;
  readonly records: RecordStore;
  readonly events: JobEvents;
  readonly deadLetters: DeadLetters;
  readonly settler: Settler;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** How soon a message that could not be decided now is delivered again. */
const HOLD_MS = 5_000;
/** D2: an older read is not trusted before a POST. */
const RECORD_FRESH_MS = 5_000;

/** Text in quotes may be the producer's; reasons never carry payload. */
const QUOTED = /"(?:[^"\\]|\\.)*"/g;

/**
 * Decides each delivery by rules D1–D7 and D11. Stateless: everything it knows it reads, so any number of dispatchers may work on one queue
 * and each may die at any point. Every path ends in exactly one of: a Job that holds the message, an acknowledgement after the effects that justify
 * it, or a hold.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** One batch of one queue. Never throws: a message whose handling fails is delivered again. */
  async dispatch(messages: readonly JsMsg[], queue: string, config: QueueConfig): Promise<void> {
    const opened = messages.map((message) => ({ message, outcome: openDelivery(message, this.#options.instance, queue) }));
    const deliveries: Delivery[] = [];
    const rejections: Promise<void>[] = [];
    for (const { message, outcome } of opened) {
      if (outcome.kind === "ok") deliveries.push(outcome.value);
      else rejections.push(this.#guarded(message, () => this.#reject(message, queue, undefined, outcome.rejection)));
    }
    let records: Map<string, StoredRecord>;
    const readAtMs = performance.now();
    try {
      records = await this.#options.records.getMany(deliveries.map(({ hash }) => hash));
    } catch (error) {
      this.#options.log.warn("dispatch.records-unread", { queue, problem: errorText(error) });
      for (const { message } of deliveries) message.nak(HOLD_MS);
      await Promise.all(rejections);
      return;
    }
    const handled = deliveries.map((delivery) =>
      this.#guarded(delivery.message, () => this.#decide(delivery, config, records.get(delivery.hash)?.record, readAtMs)),
    );
    await Promise.all([...rejections, ...handled]);
  }

  async #guarded(message: JsMsg, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#options.log.error("dispatch.failed", { source: sourceOf(message), error });
      message.nak(HOLD_MS);
    }
  }

  async #decide(delivery: Delivery, config: QueueConfig, read: JobRecord | undefined, readAtMs: number): Promise<void> {
    const facts = { messageHash: delivery.messageHash, attempt: 1, life: 1 };
    const stale = performance.now() - readAtMs > RECORD_FRESH_MS;
    // D2: a direct read may be stale, so only "there is no record" is acted on without asking the leader.
    const record = read === undefined && !stale ? undefined : (await this.#options.records.get(delivery.hash))?.record;
    const decision = dispatchRule(facts, record);
    switch (decision.rule) {
      case "D3":
        return this.#conflict(delivery);
      case "D4":
        return this.#post(delivery, config, decision.attempt);
      case "D5":
        return this.#inspect(delivery, decision.job);
      case "D6":
        return record === undefined ? this.#hold(delivery, "its record vanished") : this.#repeat(delivery, record);
      default:
        return assertNever(decision);
    }
  }

  async #post(delivery: Delivery, config: QueueConfig, attempt: number): Promise<void> {
    const { instance, admission, jobs, metrics, log } = this.#options;
    const admitted = admission.admit(delivery.opened, config);
    if (admitted.kind === "rejected") return this.#reject(delivery.message, delivery.queue, delivery.id, admitted.rejection);
    const manifest = jobManifest(
      {
        instance,
        queue: delivery.queue,
        type: delivery.type,
        id: delivery.id,
        hash: delivery.hash,
        attempt,
        messageHash: delivery.messageHash,
        ack: replySubject(delivery.message),
        traceparent: validTraceparent(delivery.opened.traceparent ?? ""),
      },
      admitted.value,
      config,
    );
    const { namespace } = admitted.value;
    const name = manifest.metadata?.name ?? "";
    try {
      const job = await jobs.create(namespace, manifest);
      metrics.jobsCreated.inc({ queue: delivery.queue });
      log.info("job.created", { id: delivery.id, queue: delivery.queue, attempt, namespace, job: name, uid: job.metadata?.uid });
    } catch (error) {
      if (!isKubeApiError(error)) throw error;
      if (error.isAlreadyExists()) return this.#inspect(delivery, { namespace, name, uid: "" });
      if (error.isInvalid()) return this.#reject(delivery.message, delivery.queue, delivery.id, apiRejection(error));
      return this.#hold(delivery, error.message.replace(QUOTED, '"…"'));
    }
  }

  /** D5, D7: a Job of this id exists. What it carries tells whether this message is its own, a duplicate, or somebody else's. */
  async #inspect(delivery: Delivery, reference: JobReference): Promise<void> {
    const job = await this.#options.jobs.get(reference.namespace, reference.name);
    if (job === undefined) return this.#hold(delivery, "its Job is gone; the monitor judges that");
    const annotations = job.metadata?.annotations ?? {};
    const ours = job.metadata?.labels?.[LABEL.instance] === this.#options.instance;
    if (!ours || annotations[ANNOTATION.messageHash] !== delivery.messageHash) return this.#conflict(delivery);
    const owner = parseAckSubject(annotations[ANNOTATION.ack] ?? "");
    if (owner === undefined) return this.#hold(delivery, "its Job's ack annotation was edited");
    if (sameSource(owner, delivery.source)) {
      delivery.message.working();
      return;
    }
    const attempt = Number(job.metadata?.labels?.[LABEL.attempt] ?? "1");
    await this.#duplicate(delivery, attempt);
  }

  /** D6: nothing is acknowledged because of a record whose effects are not known to be there. */
  async #repeat(delivery: Delivery, record: JobRecord): Promise<void> {
    if (!isTerminal(record.state)) return this.#hold(delivery, `its record is ${record.state}, attempt ${record.attempt}`);
    await this.#options.settler.repeatEffects(record);
    if (sameSource(record.source, delivery.source)) await delivery.message.ackAck();
    else await this.#duplicate(delivery, record.attempt);
  }

  async #duplicate(delivery: Delivery, attempt: number): Promise<void> {
    const { id, hash, queue, source } = delivery;
    await this.#options.events.duplicate({ id, hash, queue, attempt }, source, new Date().toISOString());
    await delivery.message.ackAck();
    this.#options.metrics.duplicates.inc({ queue });
    this.#options.log.info("message.duplicate", { id, queue, attempt, source });
  }

  #conflict(delivery: Delivery): Promise<void> {
    const { rejection } = rejected(
      "ID_CONFLICT",
      "id",
      "another message with a different body has this id; publish it under an id of its own",
    );
    return this.#reject(delivery.message, delivery.queue, delivery.id, rejection);
  }

  /** D11: DLQ with raw bytes, then event, then the acknowledgement. */
  async #reject(message: JsMsg, queue: string, id: string | undefined, rejection: Rejection): Promise<void> {
    const source = sourceOf(message);
    await this.#options.deadLetters.rejected({
      queue,
      type: parseJobSubject(message.subject)?.type ?? "",
      id,
      source,
      rejection,
      original: { subject: message.subject, headers: headerValues(message.headers) },
      body: message.data,
    });
    await this.#options.events.rejected(queue, id, source, rejection, new Date().toISOString());
    await message.ackAck();
    this.#options.metrics.rejections.inc({ queue, code: rejection.code });
    this.#options.metrics.messagesFailed.inc({ queue });
    this.#options.log.warn("message.rejected", {
      queue,
      source,
      code: rejection.code,
      path: rejection.path,
      reason: rejection.reason,
    });
  }

  #hold(delivery: Delivery, why: string): Promise<void> {
    delivery.message.nak(HOLD_MS);
    this.#options.log.warn("message.held", { id: delivery.id, queue: delivery.queue, source: delivery.source, why });
    return Promise.resolve();
  }
}

function apiRejection(error: KubeApiError): Rejection {
  return { code: "API_REJECTED", path: "", reason: error.message.replace(QUOTED, '"…"').slice(0, 400) };
}
