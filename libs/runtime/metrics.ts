import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { FAILURE_CLASSES } from "../contract/failure-class.ts";
import { PROCESS_ENDS } from "../contract/worker-end.ts";
import { VERSION } from "./version.ts";

/** The services that have `/metrics`. */
export const METERED_SERVICES = ["dispatcher", "monitor", "scaler"] as const;
export type MeteredService = (typeof METERED_SERVICES)[number];

/** What docs/metrics.md says of a metric. */
export interface MetricDeclaration {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  /** A sentence, with the unit. */
  readonly help: string;
  readonly labels: readonly string[];
  readonly services: readonly MeteredService[];
}

const ALL = METERED_SERVICES;
const BOTH = ["dispatcher", "monitor"] as const;
const DISPATCHER = ["dispatcher"] as const;
const MONITOR = ["monitor"] as const;
const SCALER = ["scaler"] as const;

/** From a millisecond to ten minutes: what waits behind a pause or a full namespace is beyond it, and has figures of its own. */
const LATENCY_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const START_SECONDS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600];
const RUN_SECONDS = [1, 5, 15, 60, 300, 900, 3_600, 14_400, 43_200, 86_400];
const ANSWER_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Stands for every queue that is not configured: only the configuration makes label values. */
export const UNCONFIGURED_QUEUE = "(unconfigured)";

export const queueLabel = (queue: string, configured: Readonly<Record<string, unknown>>): string =>
  Object.hasOwn(configured, queue) ? queue : UNCONFIGURED_QUEUE;

/**
 * Every metric, in one place; a service exports those that it feeds. Labels are bounded: queues and namespaces come from the configuration, the
 * rest are enums, and never an id.
 */
export class Metrics {
  readonly registry = new Registry();
  readonly #declared: { readonly metric: Counter | Gauge | Histogram; readonly declaration: MetricDeclaration }[] = [];

  readonly queueLength = this.#gauge(
    MONITOR,
    "queue_length",
    "Messages of the queue that wait or run, as of the last sweep; retries that sleep are not among them.",
    ["queue"],
  );
  readonly messagesProcessed = this.#counter(
    MONITOR,
    "messages_processed_total",
    "Messages whose job succeeded, and whose outcome is recorded.",
    ["queue"],
  );
  readonly messagesFailed = this.#counter(
    BOTH,
    "messages_failed_total",
    "Messages that went to the DLQ: the dispatcher counts those that could not run, the monitor those whose attempts failed for good and those that waited for a queue that is not configured.",
    ["queue"],
  );
  readonly oldestWaiting = this.#gauge(
    MONITOR,
    "millrace_oldest_waiting_seconds",
    "Age of the oldest message or due retry that no dispatcher has been given yet, in seconds, as of the last sweep; 0 when none waits.",
    ["queue"],
  );
  readonly dispatchLatency = this.#histogram(
    DISPATCHER,
    "millrace_dispatch_latency_seconds",
    "From the moment the broker stored a message, or a retry became due, until its Job was created, in seconds of the broker's clock.",
    ["queue"],
    LATENCY_SECONDS,
  );
  readonly jobsCreated = this.#counter(DISPATCHER, "millrace_jobs_created_total", "Jobs created, one for each attempt.", [
    "queue",
  ]);
  readonly redeliveries = this.#counter(
    DISPATCHER,
    "millrace_redeliveries_total",
    "Deliveries that were not a message's first: a lease ran out, or a dispatcher handed the message back.",
    ["queue"],
  );
  readonly duplicates = this.#counter(
    DISPATCHER,
    "millrace_duplicates_total",
    "Messages that were acknowledged because another message with the same id and body has made the job.",
    ["queue"],
  );
  readonly rejections = this.#counter(
    DISPATCHER,
    "millrace_rejections_total",
    "Messages that can never run and went to the DLQ at first sight, by the code of the error.",
    ["queue", "code"],
  );
  readonly dispatchFailures = this.#counter(
    DISPATCHER,
    "millrace_dispatch_failures_total",
    "Deliveries whose handling failed, as when the broker or the API server did not answer; they are delivered again.",
    [],
  );
  readonly blocked = this.#gauge(
    DISPATCHER,
    "millrace_blocked_messages",
    "Messages that this dispatcher holds because their namespace accepts no Jobs of the queue.",
    ["queue", "namespace"],
  );
  readonly blockedSeconds = this.#counter(
    DISPATCHER,
    "millrace_blocked_seconds_total",
    "For how long this dispatcher has seen the namespace accept no Jobs of the queue, in seconds, by the reason of the last refusal.",
    ["queue", "namespace", "reason"],
  );
  readonly postLimit = this.#gauge(
    DISPATCHER,
    "millrace_post_limit",
    "Jobs that this dispatcher creates at once at most, as the API server bears it.",
    [],
  );
  readonly liveJobs = this.#gauge(MONITOR, "millrace_live_jobs", "Jobs whose outcome is not recorded yet.", ["queue"]);
  readonly startDelay = this.#histogram(
    MONITOR,
    "millrace_start_delay_seconds",
    "From the creation of a Job until its container started, in seconds: scheduling, images and volumes.",
    ["queue"],
    START_SECONDS,
  );
  readonly jobDuration = this.#histogram(
    MONITOR,
    "millrace_job_duration_seconds",
    "For how long the container of an attempt ran, in seconds, by its outcome: succeeded, failed or cancelled.",
    ["queue", "outcome"],
    RUN_SECONDS,
  );
  readonly attemptsEnded = this.#counter(
    MONITOR,
    "millrace_attempts_ended_total",
    "Attempts whose outcome is recorded, by class: succeeded, cancelled, or what made it fail.",
    ["queue", "class"],
  );
  readonly retries = this.#counter(
    MONITOR,
    "millrace_retries_total",
    "Attempts that failed and are made again, by the class of the failure.",
    ["queue", "class"],
  );
  readonly sleepingRetries = this.#gauge(
    MONITOR,
    "millrace_sleeping_retries",
    "Retries, delayed starts and blocked messages that sleep in RETRY until they are due, as of the last sweep.",
    ["queue"],
  );
  readonly deadLetters = this.#gauge(MONITOR, "millrace_dead_letters", "Entries of the queue in the DLQ, as of the last sweep.", [
    "queue",
  ]);
  readonly leaseRenewals = this.#counter(
    MONITOR,
    "millrace_lease_renewals_total",
    "Times that the lease on the message of a live Job was renewed.",
    [],
  );
  readonly reconcileFailures = this.#counter(
    MONITOR,
    "millrace_reconcile_failures_total",
    "Looks at a Job that failed, as when its outcome could not be recorded; each is repeated after a pause.",
    [],
  );
  readonly sweepFailures = this.#counter(
    MONITOR,
    "millrace_sweep_failures_total",
    "Parts of a sweep that failed, as when a stream has no leader; what they find and measure is as old as their last success.",
    [],
  );
  readonly streamFill = this.#gauge(
    MONITOR,
    "millrace_stream_fill_ratio",
    "How full a stream is, of its max_bytes, between 0 and 1, as of the last sweep.",
    ["stream"],
  );
  readonly workerMessages = this.#gauge(
    MONITOR,
    "millrace_worker_messages",
    "Messages of the worker, as of the last sweep: waiting for a pod, held by one, or sleeping until their retry is due.",
    ["worker", "state"],
  );
  readonly workerOldestWaiting = this.#gauge(
    MONITOR,
    "millrace_worker_oldest_waiting_seconds",
    "Age of the oldest message or due retry that no worker has been given yet, in seconds, as of the last sweep; 0 when none waits.",
    ["worker"],
  );
  readonly workerDeadLetters = this.#gauge(
    MONITOR,
    "millrace_worker_dead_letters",
    "Entries of the worker in the DLQ, as of the last sweep.",
    ["worker"],
  );
  readonly workerHandbacks = this.#counter(
    MONITOR,
    "millrace_worker_handbacks_total",
    "Messages that the monitor took from a process of a worker that had ended and handed back, by how it ended.",
    ["worker", "class"],
  );
  readonly leader = this.#gauge(
    BOTH,
    "millrace_leader",
    "1 on the replica that leads; on every dispatcher when all of them work.",
    [],
  );
  readonly watchFreshness = this.#gauge(
    BOTH,
    "millrace_watch_freshness_seconds",
    "How long ago a watch was last known to follow the API server, in seconds; a healthy one stays below 100.",
    ["kind", "namespace"],
  );
  readonly natsConnected = this.#gauge(ALL, "millrace_nats_connected", "1 while the service is connected to NATS.", []);
  readonly kubeRequests = this.#counter(
    BOTH,
    "millrace_kube_requests_total",
    "Requests to the API server, by HTTP method and status; the code is 0 when no answer came.",
    ["method", "code"],
  );
  readonly kubeLatency = this.#histogram(
    BOTH,
    "millrace_kube_request_duration_seconds",
    "How long a request to the API server took until it was answered, in seconds; of a watch, until it began.",
    ["method"],
    ANSWER_SECONDS,
  );
  readonly traceSpans = this.#counter(
    BOTH,
    "millrace_trace_spans_total",
    "Spans that the collector took (exported) and those that it did not take in time (dropped); only where tracing is configured.",
    ["outcome"],
  );
  readonly scalerLag = this.#gauge(
    SCALER,
    "millrace_scaler_lag",
    "Messages of the worker that wait or are being worked on, as its consumers last confirmed; retries that sleep are not among them.",
    ["worker"],
  );
  readonly scalerActive = this.#gauge(SCALER, "millrace_scaler_active", "1 while KEDA is told that the worker has work.", [
    "worker",
  ]);
  readonly scalerHolding = this.#gauge(
    SCALER,
    "millrace_scaler_holding_seconds",
    "For how long the last value is held because NATS confirms no newer one, in seconds; 0 while it does.",
    ["worker"],
  );
  readonly scalerActivations = this.#counter(
    SCALER,
    "millrace_scaler_activations_total",
    "Times that a worker came to have work, by what made the scaler look.",
    ["worker", "cause"],
  );
  readonly scalerPushes = this.#counter(
    SCALER,
    "millrace_scaler_pushes_total",
    "Times that KEDA was told, on a stream of its own, whether the worker has work.",
    ["worker", "active"],
  );
  readonly scalerLooks = this.#counter(
    SCALER,
    "millrace_scaler_looks_total",
    "Looks at the consumers of a worker, by outcome: confirmed or failed.",
    ["outcome"],
  );
  readonly scalerStreams = this.#gauge(
    SCALER,
    "millrace_scaler_streams",
    "Streams that KEDA has open here, one for each ScaledObject.",
    [],
  );
  readonly buildInfo = this.#gauge(ALL, "millrace_build_info", "Always 1; the label is the version that runs.", ["version"]);

  readonly #beforeScrape: (() => void)[] = [];

  /** A name that is no service's has all of them. */
  constructor(service: string) {
    this.registry.setDefaultLabels({ service });
    collectDefaultMetrics({ register: this.registry });
    const known = METERED_SERVICES.find((name) => name === service);
    for (const { metric, declaration } of this.#declared) {
      if (known === undefined || declaration.services.includes(known)) this.registry.registerMetric(metric);
    }
    this.buildInfo.set({ version: VERSION }, 1);
  }

  get declarations(): readonly MetricDeclaration[] {
    return this.#declared.map(({ declaration }) => declaration);
  }

  /**
   * Counters of a queue begin with 0 when it is configured, not with the first thing that happens: Prometheus sees no increase from nothing to 1,
   * and no ratio with a side that is not there.
   */
  beginQueues(queues: Iterable<string>): void {
    for (const queue of queues) {
      for (const counter of [this.messagesProcessed, this.messagesFailed, this.jobsCreated, this.redeliveries, this.duplicates]) {
        counter.inc({ queue }, 0);
      }
      const { attemptsEnded: counter } = this;
      for (const reason of ["succeeded", ...FAILURE_CLASSES]) counter.inc({ queue, class: reason }, 0);
    }
  }

  /** As `beginQueues`. */
  beginWorkers(workers: Iterable<string>): void {
    for (const worker of workers) for (const reason of PROCESS_ENDS) this.workerHandbacks.inc({ worker, class: reason }, 0);
  }

  /** Told of every answer of the API server, and of every request that got none. */
  kubeAnswered({ method, status, tookMs }: { readonly method: string; readonly status: number; readonly tookMs: number }): void {
    this.kubeRequests.inc({ method, code: status });
    this.kubeLatency.observe({ method }, tookMs / 1000);
  }

  /** For gauges that are read where they are, when they are asked for. */
  beforeScrape(update: () => void): void {
    this.#beforeScrape.push(update);
  }

  /** What the leader measures is not said twice, nor by one that measures no more. */
  resetLeaderGauges(): void {
    const { queueLength, oldestWaiting, liveJobs, sleepingRetries, deadLetters, streamFill } = this;
    for (const gauge of [queueLength, oldestWaiting, liveJobs, sleepingRetries, deadLetters, streamFill]) gauge.reset();
    for (const gauge of [this.workerMessages, this.workerOldestWaiting, this.workerDeadLetters]) gauge.reset();
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  text(): Promise<string> {
    for (const update of this.#beforeScrape) update();
    return this.registry.metrics();
  }

  #counter<Label extends string>(services: readonly MeteredService[], name: string, help: string, labels: Label[]) {
    const counter = new Counter({ name, help, labelNames: labels, registers: [] });
    this.#declared.push({ metric: counter, declaration: { name, type: "counter", help, labels, services } });
    return counter;
  }

  #gauge<Label extends string>(services: readonly MeteredService[], name: string, help: string, labels: Label[]) {
    const gauge = new Gauge({ name, help, labelNames: labels, registers: [] });
    this.#declared.push({ metric: gauge, declaration: { name, type: "gauge", help, labels, services } });
    return gauge;
  }

  #histogram<Label extends string>(
    services: readonly MeteredService[],
    name: string,
    help: string,
    labels: Label[],
    buckets: number[],
  ) {
    const histogram = new Histogram({ name, help, labelNames: labels, buckets, registers: [] });
    this.#declared.push({ metric: histogram, declaration: { name, type: "histogram", help, labels, services } });
    return histogram;
  }
}
