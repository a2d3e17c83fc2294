import { readFile } from "node:fs/promises";
import { type HrTime, SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { type Resource, resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from "@opentelemetry/sdk-trace-base";
import { errorText } from "../contract/errors.ts";
import type { JobSpan } from "../contract/job-span.ts";
import type { Service } from "./lifecycle.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { Traces } from "./trace.ts";

export interface OtlpTracesOptions {
  readonly endpoint: string;
  readonly headersFile: string | undefined;
  readonly sampleRatio: number;
  readonly resource: Readonly<Record<string, string>>;
  readonly metrics: Pick<Metrics, "traceSpans">;
  readonly log: Log;
  /** How long spans are gathered before they are sent. */
  readonly delayMs?: number;
  /** How long one sending may take, what is tried again included. */
  readonly timeoutMs?: number;
  /** How long the process may be kept from ending by what is not sent yet. */
  readonly stopTimeoutMs?: number;
}

/** Spans that wait or are being sent: about 2 MB. Whatever comes on top of a collector that is away or slow is dropped. */
const PENDING_AT_MOST = 2_048;
/** A collector that stays away is told of once in a while. */
const LOG_INTERVAL_MS = 60_000;

const SCOPE = { name: "millrace" };
const KIND = { consumer: SpanKind.CONSUMER, internal: SpanKind.INTERNAL } as const;

/**
 * Sends spans to a collector, in batches, by OTLP over HTTP in JSON. What the collector does not take is tried again for a few seconds, then
 * dropped and counted. The ids of spans are given, so one that is told twice is the same one to a collector's storage.
 */
export class OtlpTraces implements Traces, Service {
  readonly name = "traces";
  readonly sampleRatio: number;
  readonly #options: OtlpTracesOptions;
  readonly #resource: Resource;
  readonly #processor: BatchSpanProcessor;
  #pending = 0;
  #droppedSinceLog = 0;
  #loggedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: OtlpTracesOptions) {
    this.#options = options;
    this.sampleRatio = options.sampleRatio;
    this.#resource = resourceFromAttributes(options.resource);
    const { endpoint, headersFile, timeoutMs } = options;
    const exporter = new OTLPTraceExporter({
      url: `${endpoint.replace(/\/$/, "")}/v1/traces`,
      timeoutMillis: timeoutMs ?? 10_000,
      concurrencyLimit: 4,
      // Read for each batch: a Secret that is rotated needs no restart.
      ...(headersFile === undefined ? {} : { headers: () => this.#headers(headersFile) }),
    });
    this.#processor = new BatchSpanProcessor(this.#counted(exporter), {
      maxQueueSize: PENDING_AT_MOST,
      scheduledDelayMillis: options.delayMs ?? 2_000,
    });
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  add(span: JobSpan | undefined): void {
    if (span === undefined) return;
    if (this.#pending >= PENDING_AT_MOST) {
      this.#dropped(1, "the collector takes spans more slowly than they come");
      return;
    }
    this.#pending += 1;
    this.#processor.onEnd(readable(span, this.#resource));
  }

  /** Sends what there is, for as long as it may take. */
  async stop(): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, this.#options.stopTimeoutMs ?? 3_000);
    // What fails is counted where it fails.
    await Promise.race([this.#processor.shutdown().catch(() => undefined), late]);
    clearTimeout(timer);
  }

  #counted(exporter: SpanExporter): SpanExporter {
    return {
      export: (spans, done) =>
        exporter.export(spans, (result) => {
          this.#pending -= spans.length;
          if (result.error === undefined) this.#options.metrics.traceSpans.inc({ outcome: "exported" }, spans.length);
          else this.#dropped(spans.length, errorText(result.error));
          done(result);
        }),
      shutdown: () => exporter.shutdown(),
    };
  }

  #dropped(count: number, problem: string): void {
    const { metrics, log } = this.#options;
    metrics.traceSpans.inc({ outcome: "dropped" }, count);
    this.#droppedSinceLog += count;
    const nowMs = performance.now();
    if (nowMs - this.#loggedAtMs < LOG_INTERVAL_MS) return;
    log.warn("traces.dropped", { spans: this.#droppedSinceLog, problem });
    this.#loggedAtMs = nowMs;
    this.#droppedSinceLog = 0;
  }

  /** Never throws, as the exporter asks: what it may not send is then refused by the collector. */
  async #headers(file: string): Promise<Record<string, string>> {
    try {
      return parseHeaders(await readFile(file, "utf8"));
    } catch (error) {
      this.#options.log.warn("traces.headers-unread", { problem: errorText(error) });
      return {};
    }
  }
}

/** One header a line, `name: value`. */
export function parseHeaders(text: string): Record<string, string> {
  const lines = text.matchAll(/^\s*(?<name>[\w-]+)\s*:\s*(?<value>\S.*?)\s*$/gm);
  return Object.fromEntries([...lines].map(({ groups }) => [groups?.["name"] ?? "", groups?.["value"] ?? ""]));
}

function readable(span: JobSpan, resource: Resource): ReadableSpan {
  const { traceId, spanId, flags, parentSpanId } = span.context;
  return {
    name: span.name,
    kind: KIND[span.kind],
    spanContext: () => ({ traceId, spanId, traceFlags: flags }),
    ...(parentSpanId === undefined
      ? {}
      : { parentSpanContext: { traceId, spanId: parentSpanId, traceFlags: flags, isRemote: true } }),
    startTime: hrTime(span.startMs),
    endTime: hrTime(span.endMs),
    duration: hrTime(span.endMs - span.startMs),
    status: span.error === undefined ? { code: SpanStatusCode.UNSET } : { code: SpanStatusCode.ERROR, message: span.error },
    attributes: { ...span.attributes },
    links: [],
    events: span.events.map(({ name, atMs }) => ({ name, time: hrTime(atMs), attributes: {}, droppedAttributesCount: 0 })),
    ended: true,
    resource,
    instrumentationScope: SCOPE,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
}

function hrTime(ms: number): HrTime {
  const seconds = Math.floor(ms / 1000);
  return [seconds, Math.floor((ms - seconds * 1000) * 1e6)];
}
