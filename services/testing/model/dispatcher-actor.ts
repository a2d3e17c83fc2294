import { parseAckSubject } from "../../../libs/contract/source.ts";
import type { LiveConfig } from "../../../libs/kube/dispatch-config-source.ts";
import { silentLog } from "../../../libs/runtime/log.ts";
import { Metrics } from "../../../libs/runtime/metrics.ts";
import { FakeClock } from "../../../libs/runtime/testing/fake-clock.ts";
import { jobStore } from "../../../libs/streams/job-store.ts";
import { Admission } from "../../dispatcher/admission.ts";
import type { PulledMessage } from "../../dispatcher/delivery.ts";
import { Dispatcher } from "../../dispatcher/dispatcher.ts";
import { Rejections } from "../../dispatcher/rejections.ts";
import type { ActorOptions } from "./actor.ts";
import { NO_LOGS } from "./actor.ts";
import type { Delivered } from "./memory-consumer.ts";

export const INSTANCE = "millrace.model";
export const QUEUE = "q";

const metrics = new Metrics("model");

/** A dispatcher's process: the real one, on ports that the stage holds. */
export class DispatcherActor {
  readonly #options: ActorOptions;
  readonly #clock = new FakeClock();
  readonly #dispatcher: Dispatcher;
  #batches = 0;

  constructor(options: ActorOptions & { readonly config: LiveConfig }) {
    this.#options = options;
    const { broker, cluster, nowMs, config, ackWaitMs } = options;
    const store = jobStore({ broker, instance: INSTANCE, logs: NO_LOGS, nowMs });
    const log = silentLog;
    const admission = new Admission({ config: () => config, jobsNamespace: "jobs", historyMs: 30 * 86_400_000, nowMs });
    this.#dispatcher = new Dispatcher({
      ...store,
      broker,
      instance: INSTANCE,
      admission,
      jobs: cluster,
      rejections: new Rejections({ ...store, nowMs, metrics, log }),
      onNamespaceFull: () => undefined,
      ackWaitMs,
      clock: this.#clock,
      nowMs,
      random: () => 0.5,
      metrics,
      log,
    });
  }

  advance(byMs: number): void {
    this.#clock.advance(byMs);
  }

  dispatch(delivered: readonly Delivered[]): void {
    if (delivered.length === 0) return;
    const { stage, name, config } = this.#options;
    const queue = config.queues[QUEUE];
    if (queue === undefined) throw new Error("the model's queue is not configured");
    this.#batches += 1;
    const messages = delivered.map((each) => this.#pulled(each));
    stage.begin(name, `batch ${this.#batches}`, () => this.#dispatcher.dispatch(messages, QUEUE, queue));
  }

  #pulled({ message, replySubject, deliveries }: Delivered): PulledMessage {
    const { broker, handBack } = this.#options;
    const source = parseAckSubject(replySubject);
    if (source === undefined) throw new Error(`not a reply subject: ${replySubject}`);
    const { subject, headers, data } = message;
    return {
      subject,
      headers,
      data,
      replySubject,
      source,
      deliveries,
      ackAck: () => broker.acknowledge(replySubject),
      nak: (delayMs = 0) => handBack(replySubject, delayMs),
      working: () => broker.renew(replySubject),
    };
  }
}
