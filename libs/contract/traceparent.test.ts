import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { beginTrace, isSampled, parseTraceparent, traceparentText, validTraceparent, validTracestate } from "./traceparent.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
const hex = (length: number) => fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: length, maxLength: length });

describe("W3C Trace Context: a traceparent", () => {
  it("is read, and written as it was", () => {
    const text = `00-${TRACE}-${SPAN}-01`;
    expect(parseTraceparent(text)).toEqual({ traceId: TRACE, spanId: SPAN, flags: 1 });
    fc.assert(
      fc.property(hex(32), hex(16), fc.constantFrom("00", "01", "02", "03"), (traceId, spanId, flags) => {
        fc.pre(/[^0]/.test(traceId) && /[^0]/.test(spanId));
        expect(validTraceparent(`00-${traceId}-${spanId}-${flags}`)).toBe(`00-${traceId}-${spanId}-${flags}`);
      }),
      { seed: 7, numRuns: 200 },
    );
  });

  it.each([
    ["nothing", undefined],
    ["empty", ""],
    ["of another form", "00-xyz"],
    ["in capitals", `00-${TRACE.toUpperCase()}-${SPAN}-01`],
    ["with a trace id of zeros", `00-${"0".repeat(32)}-${SPAN}-01`],
    ["with a span id of zeros", `00-${TRACE}-${"0".repeat(16)}-01`],
    ["of the forbidden version", `ff-${TRACE}-${SPAN}-01`],
    ["of version 00 with a fifth field", `00-${TRACE}-${SPAN}-01-x`],
    ["with something behind it", `00-${TRACE}-${SPAN}-01\n`],
    ["too short", `00-${TRACE}-${SPAN}-1`],
  ])("is absent when it is %s", (_what, text) => {
    expect(parseTraceparent(text)).toBeUndefined();
  });

  it.each([
    ["alone", `01-${TRACE}-${SPAN}-01`],
    ["with more fields", `cc-${TRACE}-${SPAN}-01-what-the-future-will-be`],
    ["with flags of its own", `01-${TRACE}-${SPAN}-f9`],
  ])("of a later version is read by its first four fields and passed on as version 00: %s", (_what, text) => {
    expect(validTraceparent(text)).toBe(`00-${TRACE}-${SPAN}-01`);
  });

  it.each([
    ["00", false],
    ["01", true],
    ["02", false],
    ["03", true],
  ])("flags %s: sampled %s", (flags, sampled) => {
    const context = parseTraceparent(`00-${TRACE}-${SPAN}-${flags}`);
    expect(context === undefined ? undefined : isSampled(context)).toBe(sampled);
  });
});

it.each([
  ["a=1,b@vendor=2", true],
  ["", false],
  ["no list of pairs", false],
  ["a=ä", false],
  ["a=1\nb=2", false],
  [`a=${"x".repeat(510)}`, true],
  [`a=${"x".repeat(511)}`, false],
])("tracestate %#: passed on %s", (text, valid) => {
  expect(validTracestate(text)).toBe(valid ? text : undefined);
});

it("a ratio keeps that share of traces, whoever decides, and a trace that a smaller one keeps a larger one keeps too", () => {
  const kept = (traceId: string, ratio: number): boolean => isSampled(beginTrace(traceId, SPAN, ratio));
  fc.assert(
    fc.property(hex(32), fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true }), (id, a, b) => {
      expect([kept(id, 0), kept(id, 1)]).toEqual([false, true]);
      if (kept(id, Math.min(a, b))) expect(kept(id, Math.max(a, b))).toBe(true);
    }),
    { seed: 7, numRuns: 200 },
  );
  const ids = fc.sample(hex(32), { seed: 7, numRuns: 2_000 });
  const share = ids.filter((id) => kept(id, 0.25)).length / ids.length;
  expect(share).toBeGreaterThan(0.2);
  expect(share).toBeLessThan(0.3);
  expect(traceparentText(beginTrace(TRACE, SPAN, 1))).toBe(`00-${TRACE}-${SPAN}-01`);
});
