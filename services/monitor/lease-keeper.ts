import { errorText } from "../../libs/contract/errors.ts";
import { ANNOTATION, LABEL } from "../../libs/contract/names.ts";
import type { JobView } from "../../libs/contract/observation.ts";
import type { Heartbeat } from "../../libs/runtime/health.ts";
import type { Service } from "../../libs/runtime/lifecycle.ts";
import type { Log } from "../../libs/runtime/log.ts";
import { type Metrics, queueLabel } from "../../libs/runtime/metrics.ts";
import type { SourceMessages } from "../../libs/streams/messages.ts";

const TICK_MS = 500;

/**
 * L1: renews the broker's lease on the message of every live Job each third of ack_wait, spread over the interval, so that ten thousand Jobs
 * are a steady trickle and not a burst. A monitor that is away for longer loses nothing: the message is delivered again and rule D5 sees its Job.
 */
export class LeaseKeeper implements Service {
  readonly name = "lease-keeper";
  readonly #liveJobs: () => Iterable<JobView>;
  readonly #queues: () => Readonly<Record<string, unknown>>;
  readonly #messages: Pick<SourceMessages, "renew">;
  readonly #heartbeat: Heartbeat;
  readonly #metrics: Metrics;
  readonly #log: Log;
  readonly #slices: number;
  #tick = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: {
    readonly liveJobs: () => Iterable<JobView>;
    readonly queues: () => Readonly<Record<string, unknown>>;
    readonly messages: Pick<SourceMessages, "renew">;
    readonly ackWaitMs: number;
    readonly heartbeat: Heartbeat;
    readonly metrics: Metrics;
    readonly log: Log;
  }) {
    this.#liveJobs = options.liveJobs;
    this.#queues = options.queues;
    this.#messages = options.messages;
    this.#heartbeat = options.heartbeat;
    this.#metrics = options.metrics;
    this.#log = options.log;
    this.#slices = Math.max(1, Math.floor(options.ackWaitMs / 3 / TICK_MS));
  }

  start(): Promise<void> {
    this.#heartbeat.beat();
    this.#timer ??= setInterval(() => this.#turn(), TICK_MS);
    return Promise.resolve();
  }

  stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#heartbeat.rest();
    return Promise.resolve();
  }

  /** A slice that fails is made up for by the next round; a keeper that always fails is stalled. */
  #turn(): void {
    try {
      this.#renewSlice();
      this.#heartbeat.beat();
    } catch (error) {
      this.#log.warn("lease.not-renewed", { problem: errorText(error) });
    }
  }

  #renewSlice(): void {
    this.#tick = (this.#tick + 1) % this.#slices;
    const queues = this.#queues();
    const live = new Map(Object.keys(queues).map((queue) => [queue, 0]));
    let renewed = 0;
    for (const job of this.#liveJobs()) {
      const queue = queueLabel(job.labels[LABEL.queue] ?? "", queues);
      live.set(queue, (live.get(queue) ?? 0) + 1);
      if (sliceOf(job.uid, this.#slices) !== this.#tick) continue;
      this.#messages.renew(job.annotations[ANNOTATION.ack] ?? "");
      renewed += 1;
    }
    this.#metrics.liveJobs.reset();
    for (const [queue, count] of live) this.#metrics.liveJobs.set({ queue }, count);
    this.#metrics.leaseRenewals.inc(renewed);
  }
}

/** A uid is random, so its digits spread evenly. */
export function sliceOf(uid: string, slices: number): number {
  return Number.parseInt(uid.replaceAll("-", "").slice(0, 8), 16) % slices;
}
