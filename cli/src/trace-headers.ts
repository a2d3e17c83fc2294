import { randomBytes } from "node:crypto";
import { traceparentText, validTraceparent, validTracestate } from "../../libs/contract/traceparent.ts";

/** The caller's trace goes on; without one a trace begins here. */
export function traceHeaders(env: NodeJS.ProcessEnv): Readonly<Record<string, string>> {
  const given = validTraceparent(env["TRACEPARENT"]);
  if (given === undefined) return { traceparent: beginTrace() };
  const tracestate = validTracestate(env["TRACESTATE"]);
  return { traceparent: given, ...(tracestate === undefined ? {} : { tracestate }) };
}

/** Sampled, by a random id. */
function beginTrace(): string {
  const [traceId, spanId] = [randomBytes(16).toString("hex"), randomBytes(8).toString("hex")];
  return traceparentText({ traceId, spanId, flags: 3 });
}
