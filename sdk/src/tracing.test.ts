import { trace } from "@opentelemetry/api";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { inSpan, spanFailed, traceHeaders } from "./tracing.ts";

const TRACE = "a".repeat(32);
const PARENT = "b".repeat(16);
const message = {
  worker: "image-download",
  id: "m-1",
  attempt: 2,
  subject: "image-download",
  headers: { traceparent: [`00-${TRACE}-${PARENT}-01`] },
};

describe("without a tracing SDK", () => {
  it("passes the message's own trace on", async () => {
    expect(await inSpan(message, async (span) => traceHeaders(span))).toEqual({ traceparent: `00-${TRACE}-${PARENT}-01` });
  });

  it("begins no trace", async () => {
    expect(await inSpan({ ...message, headers: {} }, async (span) => traceHeaders(span))).toEqual({});
    const broken = { ...message, headers: { traceparent: ["nonsense"] } };
    expect(await inSpan(broken, async (span) => traceHeaders(span))).toEqual({});
  });
});

describe("with one", () => {
  const exporter = new InMemorySpanExporter();
  beforeAll(() => {
    trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  });
  afterAll(() => trace.disable());

  it("records a span of the message's trace, of which what is published is a child", async () => {
    const carried = await inSpan(message, async (span) => {
      spanFailed(span, "no bucket");
      return traceHeaders(span);
    });
    const [span] = exporter.getFinishedSpans();
    expect(span).toMatchObject({
      name: "process image-download",
      parentSpanContext: { traceId: TRACE, spanId: PARENT },
      status: { message: "no bucket" },
      attributes: { "messaging.message.id": "m-1", "millrace.attempt": 2 },
    });
    expect(carried).toEqual({ traceparent: `00-${TRACE}-${span?.spanContext().spanId}-01` });
  });
});
