/** A place in a trace, as W3C Trace Context names it. */
export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  /** Whether whoever began the trace wants it to be kept; the other known bit is passed on. */
  readonly flags: number;
}

const TRACEPARENT =
  /^(?<version>[0-9a-f]{2})-(?<traceId>[0-9a-f]{32})-(?<spanId>[0-9a-f]{16})-(?<flags>[0-9a-f]{2})(?<rest>-[\x20-\x7e]*)?$/;
const ZEROS = /^0+$/;

const SAMPLED = 0x01;
/** Sampled, and (level 2) that the trace id is random. */
const KNOWN_FLAGS = 0x03;

/** What is longer is cut by others too, and a pod's environment is no place for it. */
const TRACESTATE = /^(?=.*=)[\x20-\x7e]{1,512}$/;

/**
 * Undefined when it is malformed, which counts as absent. Of a version that is not known the first four fields are read, as the standard asks;
 * it is passed on as version 00.
 */
export function parseTraceparent(text: string | undefined): TraceContext | undefined {
  const { version, traceId = "", spanId = "", flags = "", rest } = TRACEPARENT.exec(text ?? "")?.groups ?? {};
  if (version === undefined || version === "ff" || (version === "00" && rest !== undefined)) return undefined;
  if (ZEROS.test(traceId) || ZEROS.test(spanId)) return undefined;
  return { traceId, spanId, flags: Number.parseInt(flags, 16) & KNOWN_FLAGS };
}

export function traceparentText({ traceId, spanId, flags }: TraceContext): string {
  return `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, "0")}`;
}

/** As it is passed on; undefined when it is malformed. */
export function validTraceparent(text: string | undefined): string | undefined {
  const context = parseTraceparent(text);
  return context === undefined ? undefined : traceparentText(context);
}

/** Means nothing without the traceparent that it came with. */
export function validTracestate(text: string | undefined): string | undefined {
  return text !== undefined && TRACESTATE.test(text) ? text : undefined;
}

export function isSampled({ flags }: TraceContext): boolean {
  return (flags & SAMPLED) !== 0;
}

/** Another span of the same trace. */
export function childOf(parent: TraceContext, spanId: string): TraceContext {
  return { ...parent, spanId };
}

/** Whoever asks for the same ratio decides the same about a trace: by its id, of which the last digits are evenly spread. */
export function beginTrace(traceId: string, spanId: string, sampleRatio: number): TraceContext {
  const share = Number.parseInt(traceId.slice(-13), 16) / 16 ** 13;
  return { traceId, spanId, flags: share >= 1 - sampleRatio ? SAMPLED : 0 };
}
