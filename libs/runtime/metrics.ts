import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";

/** Every metric that a service exports, in one place. Labels are bounded: queues come from the configuration, the rest are enums. */
export class Metrics {
  readonly registry = new Registry();
  readonly queueLength = this.#gauge("queue_length", "Messages of the queue that wait or run", ["queue"]);
  readonly messagesProcessed = this.#counter("messages_processed_total", "Messages whose outcome is recorded as succeeded", [
    "queue",
  ]);
  readonly messagesFailed = this.#counter("messages_failed_total", "Messages that were dead-lettered", ["queue"]);
  readonly jobsCreated = this.#counter("millrace_jobs_created_total", "Jobs created", ["queue"]);
  readonly duplicates = this.#counter("millrace_duplicates_total", "Messages whose job existed already", ["queue"]);
  readonly rejections = this.#counter("millrace_rejections_total", "Messages that could never run", ["queue", "code"]);
  readonly leaseRenewals = this.#counter("millrace_lease_renewals_total", "Message leases renewed", []);
  readonly blocked = this.#gauge("millrace_blocked_messages", "Messages held because their namespace accepts no Jobs", [
    "queue",
    "namespace",
  ]);
  readonly postLimit = this.#gauge("millrace_post_limit", "Jobs that may be created at once, as the API server bears it", []);
  readonly retries = this.#counter("millrace_retries_total", "Attempts that are made again", ["queue", "class"]);
  readonly streamFill = this.#gauge("millrace_stream_fill_ratio", "How full a stream is, of its max_bytes", ["stream"]);
  readonly leader = this.#gauge("millrace_leader", "1 on the replica that leads", []);
  readonly liveJobs = this.#gauge("millrace_live_jobs", "Jobs that have not been settled", []);

  readonly #beforeScrape: (() => void)[] = [];

  constructor(service: string) {
    this.registry.setDefaultLabels({ service });
    collectDefaultMetrics({ register: this.registry });
  }

  /** For gauges that are read where they are, when they are asked for. */
  beforeScrape(update: () => void): void {
    this.#beforeScrape.push(update);
  }

  text(): Promise<string> {
    for (const update of this.#beforeScrape) update();
    return this.registry.metrics();
  }

  #counter<Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  #gauge<Label extends string>(name: string, help: string, labelNames: Label[]): Gauge<Label> {
    return new Gauge({ name, help, labelNames, registers: [this.registry] });
  }
}
