import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type MessageSource, nanosOfTimestamp, parseAckSubject, sameSource, sourceKey } from "./source.ts";

const source: MessageSource = { stream: "JOBS", seq: 42, storedAt: "1758000000123456789" };

describe("S1: the source of a message", () => {
  it.each([
    ["v1", "$JS.ACK.JOBS.queue-default.3.42.7.1758000000123456789.0", source],
    ["v2", "$JS.ACK.hub.ACCHASH.JOBS.queue-default.3.42.7.1758000000123456789.0.rnd", source],
    ["v2 without its random token", "$JS.ACK._.ACCHASH.JOBS.queue-default.3.42.7.1758000000123456789.0", source],
    ["nothing", "", undefined],
    ["another subject", "jobs.default.hello", undefined],
    ["too few tokens", "$JS.ACK.JOBS.queue-default.3.42.7.1758000000123456789", undefined],
    ["ten tokens, which neither form has", "$JS.ACK.a.b.c.d.e.f.g.h", undefined],
    ["a sequence of zero", "$JS.ACK.JOBS.c.3.0.7.1758000000123456789.0", undefined],
    ["a sequence that is no number", "$JS.ACK.JOBS.c.3.x.7.1758000000123456789.0", undefined],
    ["a time that is no number", "$JS.ACK.JOBS.c.3.42.7.-1.0", undefined],
    ["no stream", "$JS.ACK..c.3.42.7.1758000000123456789.0", undefined],
  ])("is read from a reply subject: %s", (_what, subject, expected) => {
    expect(parseAckSubject(subject)).toEqual(expected);
  });

  it("keeps store times exactly, although they do not fit a double", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }), fc.integer({ min: 1 }), (nanos, seq) => {
        const parsed = parseAckSubject(`$JS.ACK.S.c.1.${seq}.1.${nanos}.0`);
        expect(parsed).toEqual({ stream: "S", seq, storedAt: String(nanos) });
      }),
    );
  });

  it("an edited annotation never throws", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("$JS", "ACK", "", "1", "x", "9".repeat(30), "1e400"), { maxLength: 13 }), (tokens) => {
        const parsed = parseAckSubject(tokens.join("."));
        if (parsed !== undefined) expect(Number.isSafeInteger(parsed.seq)).toBe(true);
      }),
    );
  });

  it("is the same only when stream, sequence and store time are", () => {
    expect(sameSource(source, { ...source })).toBe(true);
    for (const other of [{ stream: "RETRY" }, { seq: 43 }, { storedAt: "1758000000123456788" }]) {
      expect(sameSource(source, { ...source, ...other })).toBe(false);
      expect(sourceKey({ ...source, ...other })).not.toBe(sourceKey(source));
    }
  });
});

describe("S1: RFC 3339 with nanoseconds", () => {
  it("gives back every nanosecond, as the server prints it", () => {
    const max = BigInt(Date.UTC(2200, 0)) * 1_000_000n;
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max }), (nanos) => {
        const whole = new Date(Number(nanos / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
        const fraction = String(nanos % 1_000_000_000n)
          .padStart(9, "0")
          .replace(/0+$/, "");
        expect(nanosOfTimestamp(`${whole}${fraction === "" ? "" : `.${fraction}`}Z`)).toBe(String(nanos));
      }),
    );
  });

  it("knows offsets and refuses anything else", () => {
    expect(nanosOfTimestamp("2026-01-01T02:00:00.5+02:00")).toBe(nanosOfTimestamp("2026-01-01T00:00:00.5Z"));
    for (const text of ["", "yesterday", "2026-01-01", "2026-99-01T00:00:00Z"])
      expect(() => nanosOfTimestamp(text)).toThrow(RangeError);
  });
});
