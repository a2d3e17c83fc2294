import { context, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { parseTraceparent, traceparentText, validTraceparent } from "../../libs/contract/traceparent.ts";

export interface TracedMessage {
  readonly worker: string;
  readonly id: string;
  readonly attempt: number;
  readonly subject: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
}

export const traceparentOf = ({ headers }: Pick<TracedMessage, "headers">): string | undefined =>
  validTraceparent(headers["traceparent"]?.[0]);

/** Runs it in a span whose parent is the message's. Without a tracing SDK in the process nothing is recorded, and the message's trace is passed on. */
export async function inSpan<T>(message: TracedMessage, run: (span: Span) => Promise<T>): Promise<T> {
  const given = parseTraceparent(traceparentOf(message));
  const parent =
    given === undefined
      ? ROOT_CONTEXT
      : trace.setSpanContext(ROOT_CONTEXT, {
          traceId: given.traceId,
          spanId: given.spanId,
          traceFlags: given.flags,
          isRemote: true,
        });
  const span = trace.getTracer("@millrace/worker").startSpan(
    `process ${message.worker}`,
    {
      kind: SpanKind.CONSUMER,
      attributes: {
        "messaging.system": "nats",
        "messaging.operation.type": "process",
        "messaging.destination.name": message.subject,
        "messaging.message.id": message.id,
        "millrace.worker": message.worker,
        "millrace.attempt": message.attempt,
      },
    },
    parent,
  );
  try {
    return await context.with(trace.setSpan(parent, span), () => run(span));
  } finally {
    span.end();
  }
}

export function spanFailed(span: Span, reason: string): void {
  span.setStatus({ code: SpanStatusCode.ERROR, message: reason });
}

/** What is published within the span carries this. */
export function traceHeaders(span: Span): Readonly<Record<string, string>> {
  const { traceId, spanId, traceFlags } = span.spanContext();
  const text = traceparentText({ traceId, spanId, flags: traceFlags });
  return validTraceparent(text) === undefined ? {} : { traceparent: text };
}
