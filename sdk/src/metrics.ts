import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

/** What became of a delivery that was worked on. */
export const RESULTS = ["succeeded", "retried", "later", "dead", "handedBack", "lost"] as const;
export type Result = (typeof RESULTS)[number];

const DURATION_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600];

/** The metrics of a worker's process. Labels are bounded: the worker's name and enums. docs/worker-sdk.md says of each what it is. */
export class WorkerMetrics {
  readonly registry = new Registry();
  readonly #worker: string;
  readonly #messages: Counter<"result">;
  readonly #duration: Histogram;
  readonly #redeliveries: Counter;
  readonly #surplus: Counter;
  readonly #settleFailures: Counter;
  readonly #blocked: Counter;
  readonly #inFlight: Gauge;

  constructor(worker: string) {
    this.#worker = worker;
    this.registry.setDefaultLabels({ worker });
    collectDefaultMetrics({ register: this.registry });
    const registers = [this.registry];
    this.#messages = new Counter({
      name: "millrace_worker_attempts_total",
      help: "Attempts at messages that ended, by what became of the message.",
      labelNames: ["result"],
      registers,
    });
    this.#duration = new Histogram({
      name: "millrace_worker_handler_duration_seconds",
      help: "How long handlers took, in seconds.",
      buckets: DURATION_SECONDS,
      registers,
    });
    this.#redeliveries = new Counter({
      name: "millrace_worker_redeliveries_total",
      help: "Deliveries that were not a message's first in its stream.",
      registers,
    });
    this.#surplus = new Counter({
      name: "millrace_worker_surplus_total",
      help: "Deliveries that were handed back at once because every slot was taken.",
      registers,
    });
    this.#settleFailures = new Counter({
      name: "millrace_worker_settle_failures_total",
      help: "Times that the end of an attempt could not be told to the broker; each is tried again.",
      registers,
    });
    this.#blocked = new Counter({
      name: "millrace_worker_event_loop_blocked_seconds_total",
      help: "For how long the event loop stood still, in seconds, of times longer than a tenth of one.",
      registers,
    });
    this.#inFlight = new Gauge({ name: "millrace_worker_in_flight", help: "Messages that this process works on.", registers });
    for (const result of RESULTS) this.#messages.inc({ result }, 0);
  }

  get worker(): string {
    return this.#worker;
  }

  ended(result: Result): void {
    this.#messages.inc({ result });
  }

  handlerTook(ms: number): void {
    this.#duration.observe(ms / 1000);
  }

  redelivered(): void {
    this.#redeliveries.inc();
  }

  surplus(): void {
    this.#surplus.inc();
  }

  settleFailed(): void {
    this.#settleFailures.inc();
  }

  blockedFor(ms: number): void {
    this.#blocked.inc(ms / 1000);
  }

  inFlight(messages: number): void {
    this.#inFlight.set(messages);
  }

  text(): Promise<string> {
    return this.registry.metrics();
  }
}
