import { describe, expect, it } from "vitest";
import { attemptContext, jobContext, ownTraceparent, traceIdOf } from "./job-trace.ts";
import { parseTraceparent, validTraceparent } from "./traceparent.ts";

const PRODUCER = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
const job = { hash: "h".repeat(20), life: 1 };

describe("the trace of a job", () => {
  it("is the producer's: its span is the parent of the job's, which is that of each attempt and of its dispatch", () => {
    const traced = { ...job, traceparent: PRODUCER };
    const whole = jobContext(traced);
    expect(whole).toMatchObject({ traceId: "a".repeat(32), parentSpanId: "b".repeat(16), flags: 1 });
    const spans = [1, 2].flatMap((attempt) => [
      attemptContext(traced, attempt, "dispatch"),
      attemptContext(traced, attempt, "attempt"),
    ]);
    for (const span of spans) expect(span).toMatchObject({ traceId: "a".repeat(32), parentSpanId: whole?.spanId });
    expect(new Set([...spans, whole].map((span) => span?.spanId)).size).toBe(5);
  });

  it("that came with none begins with the job's own span, the same whoever asks, another for another life or job", () => {
    const own = ownTraceparent(job, 1);
    expect(validTraceparent(own)).toBe(own);
    expect(ownTraceparent({ ...job }, 1)).toBe(own);
    expect(jobContext({ ...job, traceparent: own })).toEqual({ ...parseTraceparent(own), parentSpanId: undefined });
    const others = [own, ownTraceparent({ ...job, life: 2 }, 1), ownTraceparent({ ...job, hash: "i".repeat(20) }, 1)];
    expect(new Set(others.map((text) => parseTraceparent(text)?.traceId)).size).toBe(3);
  });

  it("two jobs and two lives of one job in one trace have spans of their own", () => {
    const jobs = [job, { ...job, life: 2 }, { ...job, hash: "i".repeat(20) }];
    expect(new Set(jobs.map((each) => jobContext({ ...each, traceparent: PRODUCER })?.spanId)).size).toBe(3);
  });

  it("is none without a traceparent, or with a malformed one", () => {
    for (const traceparent of [undefined, "00-xyz"]) {
      expect(jobContext({ ...job, traceparent })).toBeUndefined();
      expect(attemptContext({ ...job, traceparent }, 1, "attempt")).toBeUndefined();
      expect(traceIdOf({ traceparent })).toEqual({});
    }
  });
});
