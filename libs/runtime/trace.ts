import { z } from "zod";
import type { JobSpan } from "../contract/job-span.ts";
import type { Service } from "./lifecycle.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { VERSION } from "./version.ts";

/** OpenTelemetry's own names. The credentials of a collector come as a file: environments are shown by `kubectl describe`. */
export const traceEnv = {
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .url({ protocol: /^https?$/, error: "must be the address of a collector, such as http://collector:4318" })
    .optional()
    .describe("Where spans are sent to, as JSON over HTTP to its /v1/traces; without it nothing is traced"),
  OTLP_HEADERS_FILE: z.string().optional().describe("A file with one header a line, as `Authorization: Bearer …`"),
  OTEL_TRACES_SAMPLER: z
    .enum(["parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"])
    .default("parentbased_always_on")
    .describe("A producer's own decision always holds; this is for messages that come without a trace"),
  OTEL_TRACES_SAMPLER_ARG: z.coerce.number().min(0).max(1).default(1).describe("The ratio of parentbased_traceidratio"),
} as const;

export type TraceSettings = z.output<z.ZodObject<typeof traceEnv>>;

/** Where spans of jobs go. To tell one never waits and never fails; one that cannot be sent in time is dropped. */
export interface Traces {
  /** Of the traces that Millrace begins itself. */
  readonly sampleRatio: number;
  /** Undefined: the job is not traced. */
  add(span: JobSpan | undefined): void;
}

/** Undefined when no collector is named; then nothing of what exports is loaded. */
export async function openTraces(options: {
  readonly settings: TraceSettings;
  /** `dispatcher`, `monitor`. */
  readonly service: string;
  readonly instance: string;
  readonly pod: string;
  readonly metrics: Metrics;
  readonly log: Log;
}): Promise<(Traces & Service) | undefined> {
  const { settings, service, instance, pod, metrics, log } = options;
  const endpoint = settings.OTEL_EXPORTER_OTLP_ENDPOINT;
  if (endpoint === undefined) return undefined;
  const { OtlpTraces } = await import("./otlp-traces.ts");
  return new OtlpTraces({
    endpoint,
    headersFile: settings.OTLP_HEADERS_FILE,
    sampleRatio: sampleRatioOf(settings),
    resource: {
      "service.name": `millrace-${service}`,
      "service.version": VERSION,
      "service.namespace": instance,
      "service.instance.id": pod,
    },
    metrics,
    log,
  });
}

function sampleRatioOf({ OTEL_TRACES_SAMPLER: sampler, OTEL_TRACES_SAMPLER_ARG: ratio }: TraceSettings): number {
  if (sampler === "parentbased_traceidratio") return ratio;
  return sampler === "parentbased_always_on" ? 1 : 0;
}
