import { createHash } from "node:crypto";
import { type MessageSource, sourceKey } from "./source.ts";
import { beginTrace, childOf, parseTraceparent, type TraceContext, traceparentText } from "./traceparent.ts";

/**
 * One life of a job, and the traceparent that its message came with or, when it came without, `ownTraceparent`. Without any it is not traced.
 *
 *   producer's span ─► job (stored → outcome) ─┬► dispatch (stored → Job created)   of each attempt
 *                                              └► attempt (Job created → ended)     of each attempt ─► the pod's own spans
 *
 * Every id is made from what all services know of the job, so that whoever tells a span, and however often after a crash, tells the same one.
 */
export interface TracedLife {
  readonly hash: string;
  readonly life: number;
  readonly traceparent?: string | undefined;
}

/** Begins the trace of a message that came without one: with the job's own span. */
export function ownTraceparent(job: TracedLife, sampleRatio: number): string {
  return traceparentText(beginTrace(digest("trace", job.hash, job.life).slice(0, 32), jobSpanId(job), sampleRatio));
}

export interface JobContext extends TraceContext {
  /** The producer's span; undefined when the job begins the trace. */
  readonly parentSpanId: string | undefined;
}

export function jobContext(job: TracedLife): JobContext | undefined {
  const given = parseTraceparent(job.traceparent);
  if (given === undefined) return undefined;
  const spanId = jobSpanId(job);
  return { ...childOf(given, spanId), parentSpanId: given.spanId === spanId ? undefined : given.spanId };
}

/** Known before the attempt is made, so that its pod can be told. */
export function attemptContext(job: TracedLife, attempt: number, what: "dispatch" | "attempt"): JobContext | undefined {
  const parent = jobContext(job);
  if (parent === undefined) return undefined;
  const spanId = digest(what, job.hash, job.life, attempt).slice(0, 16);
  return { ...childOf(parent, spanId), parentSpanId: parent.spanId };
}

/** A message that never became a job has a place in its producer's trace only. */
export function rejectionContext(source: MessageSource, traceparent: string | undefined): JobContext | undefined {
  const given = parseTraceparent(traceparent);
  if (given === undefined) return undefined;
  return { ...childOf(given, digest("rejected", sourceKey(source)).slice(0, 16)), parentSpanId: given.spanId };
}

/** As a field of a log line. */
export function traceIdOf({ traceparent }: Pick<TracedLife, "traceparent">): { readonly traceId?: string } {
  const traceId = parseTraceparent(traceparent)?.traceId;
  return traceId === undefined ? {} : { traceId };
}

/** As a field, absent when there is none. */
export function tracedBy({ traceparent }: Pick<TracedLife, "traceparent">): { readonly traceparent?: string } {
  return traceparent === undefined ? {} : { traceparent };
}

function jobSpanId({ hash, life }: TracedLife): string {
  return digest("job", hash, life).slice(0, 16);
}

function digest(...parts: readonly (string | number)[]): string {
  return createHash("sha256").update(parts.join("\0")).digest("hex");
}
