import { attemptContext, type JobContext, jobContext, rejectionContext, type TracedLife } from "./job-trace.ts";
import type { Rejection } from "./message.ts";
import { type AttemptRecord, currentAttempt, isTerminal, type JobRecord, type JobReference } from "./record.ts";
import { type MessageSource, sourceKey } from "./source.ts";
import { isSampled } from "./traceparent.ts";

/** A span as plain data. Names of attributes are OpenTelemetry's, where it has one. */
export interface JobSpan {
  readonly name: string;
  /** `consumer`: it begins with a message that was stored. */
  readonly kind: "consumer" | "internal";
  readonly context: JobContext;
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly events: readonly { readonly name: string; readonly atMs: number }[];
  /** Why it failed. */
  readonly error: string | undefined;
}

type SpanFacts = Omit<JobSpan, "context" | "events" | "error"> & Partial<Pick<JobSpan, "events" | "error">>;

interface Identity extends TracedLife {
  readonly id: string;
  readonly queue: string;
  readonly type: string;
}

/** From the message's arrival in its stream, or from when its retry was due, to its Job. */
export function dispatchSpan(
  delivery: Identity & { readonly attempt: number; readonly source: MessageSource },
  job: JobReference,
  createdMs: number,
): JobSpan | undefined {
  const { attempt, source } = delivery;
  return span(attemptContext(delivery, attempt, "dispatch"), {
    name: `dispatch ${delivery.queue}`,
    kind: "consumer",
    startMs: storedMs(sourceKey(source)),
    endMs: createdMs,
    attributes: { ...messageAttributes(delivery), ...jobAttributes(job), "millrace.attempt": attempt },
  });
}

/** From the message's arrival to its entry in the DLQ. */
export function rejectionSpan(
  message: {
    readonly queue: string;
    readonly type: string;
    readonly source: MessageSource;
    readonly traceparent: string | undefined;
  },
  { code, path, reason }: Rejection,
  rejectedMs: number,
): JobSpan | undefined {
  const { queue, type, source, traceparent } = message;
  return span(rejectionContext(source, traceparent), {
    name: `dispatch ${queue}`,
    kind: "consumer",
    startMs: storedMs(sourceKey(source)),
    endMs: rejectedMs,
    attributes: {
      ...destinationAttributes(queue, type),
      "millrace.queue": queue,
      "millrace.outcome": "rejected",
      "error.type": code,
    },
    error: path === "" ? reason : `${path}: ${reason}`,
  });
}

/** From the creation of the Job, if that was seen, to the end of the attempt that the record speaks of. */
export function attemptSpan(
  record: JobRecord,
  seen: { readonly createdAt?: string | undefined; readonly pod?: string | undefined },
): JobSpan | undefined {
  const attempt = currentAttempt(record);
  if (attempt?.endedAt === undefined) return undefined;
  const endMs = Date.parse(attempt.endedAt);
  const { startedAt, node, exitCode } = attempt;
  return span(attemptContext(record, attempt.n, "attempt"), {
    name: `attempt ${record.queue}`,
    kind: "internal",
    startMs: Date.parse(seen.createdAt ?? startedAt ?? attempt.endedAt),
    endMs,
    attributes: {
      ...identityAttributes(record),
      ...(record.job === undefined ? {} : jobAttributes(record.job)),
      "millrace.attempt": attempt.n,
      "millrace.outcome": attempt.outcome ?? "",
      ...(seen.pod === undefined ? {} : { "k8s.pod.name": seen.pod }),
      ...(node === undefined ? {} : { "k8s.node.name": node }),
      ...(exitCode === undefined ? {} : { "process.exit.code": exitCode }),
      ...errorAttributes(attempt),
    },
    events: startedAt === undefined ? [] : [{ name: "pod.started", atMs: Date.parse(startedAt) }],
    error: attempt.outcome === "failed" ? `${attempt.class ?? ""}: ${attempt.reason ?? ""}` : undefined,
  });
}

/** The whole life of a job, once its outcome is recorded. */
export function jobSpan(record: JobRecord): JobSpan | undefined {
  if (!isTerminal(record.state)) return undefined;
  const attempt = currentAttempt(record);
  return span(jobContext(record), {
    name: `job ${record.queue}`,
    kind: "consumer",
    startMs: lifeBeganMs(record),
    endMs: Date.parse(record.updatedAt),
    attributes: {
      ...messageAttributes(record),
      "millrace.outcome": record.state,
      "millrace.attempts": Math.max(0, record.attempt - record.budgetFrom + 1),
      ...(attempt === undefined || record.state !== "dead" ? {} : errorAttributes(attempt)),
    },
    error: record.state === "dead" ? (record.reason ?? "") : undefined,
  });
}

/** Undefined when it is not traced, or when whoever began the trace does not want it kept. */
function span(context: JobContext | undefined, given: SpanFacts): JobSpan | undefined {
  if (context === undefined || !isSampled(context)) return undefined;
  // The times are several clocks'; no span ends before it begins.
  return { events: [], error: undefined, ...given, context, endMs: Math.max(given.startMs, given.endMs) };
}

function identityAttributes({ id, queue, life }: Identity) {
  return { "millrace.id": id, "millrace.queue": queue, "millrace.life": life };
}

function messageAttributes(job: Identity) {
  return {
    ...identityAttributes(job),
    ...destinationAttributes(job.queue, job.type),
    "messaging.message.id": job.id,
  };
}

function destinationAttributes(queue: string, type: string) {
  return {
    "messaging.system": "nats",
    "messaging.operation.name": "dispatch",
    "messaging.operation.type": "process",
    "messaging.destination.name": type === "" ? `jobs.${queue}` : `jobs.${queue}.${type}`,
  };
}

function jobAttributes({ namespace, name, uid }: JobReference) {
  return { "k8s.namespace.name": namespace, "k8s.job.name": name, "k8s.job.uid": uid };
}

function errorAttributes(attempt: AttemptRecord) {
  return attempt.class === undefined ? {} : { "error.type": attempt.class };
}

/** When the first message of this life was stored. The record of a delayed start is older than the message of its first attempt. */
function lifeBeganMs(record: JobRecord): number {
  const first = record.attempts.find(({ n }) => n >= record.budgetFrom);
  const known = [
    ...(record.life === 1 ? [Date.parse(record.createdAt)] : []),
    ...(first?.source === undefined ? [] : [storedMs(first.source)]),
    Date.parse(record.updatedAt),
  ];
  return Math.min(...known);
}

/** The last part of a source's key is its store time in nanoseconds. */
function storedMs(key: string): number {
  return Number(key.slice(key.lastIndexOf("-") + 1)) / 1e6;
}
