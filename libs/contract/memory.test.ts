import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { escalate } from "./memory.ts";
import { parseQuantity } from "./units.ts";

describe("design §4.5: memory after an OOM", () => {
  it("32Mi by half again and again, up to the limit and no further", () => {
    const seen: string[] = [];
    for (let memory: string | undefined = "32Mi"; memory !== undefined; memory = escalate(memory, 1.5, "256Mi"))
      seen.push(memory);
    expect(seen).toEqual(["32Mi", "48Mi", "72Mi", "108Mi", "162Mi", "243Mi", "256Mi"]);
  });

  it.each([
    ["in whole Mi, rounded up", "5Mi", 1.5, "1Gi", "8Mi"],
    ["without the error of floating point", "50Mi", 1.1, "1Gi", "55Mi"],
    ["bytes", "33554432", 1.5, "1Gi", "48Mi"],
    ["decimal units", "64M", 1.5, "1G", "92Mi"],
    ["less than a Mi", "500Ki", 1.5, "1Gi", "1Mi"],
    ["more, however small the factor", "32Mi", 1.000_000_01, "1Gi", "33Mi"],
    ["the limit as it is written", "3Gi", 1.5, "4Gi", "4Gi"],
    ["a limit that is no whole Mi", "1Mi", 2, "1500Ki", "1500Ki"],
  ])("%s", (_what, current, factor, limit, next) => {
    expect(escalate(current, factor, limit)).toBe(next);
  });

  it.each([
    ["at the limit", "4Gi", "4Gi"],
    ["at the limit, written otherwise", "4096Mi", "4Gi"],
    ["above the limit", "8Gi", "4Gi"],
    ["what is no quantity", "much", "4Gi"],
  ])("nothing more: %s", (_what, current, limit) => {
    expect(escalate(current, 1.5, limit)).toBeUndefined();
  });

  it("always more than before, never more than the limit", () => {
    const quantity = fc
      .tuple(fc.integer({ min: 1, max: 9_999 }), fc.constantFrom("Ki", "Mi", "Gi", "M", "k"))
      .map((parts) => parts.join(""));
    fc.assert(
      fc.property(quantity, fc.double({ min: 1.01, max: 10, noNaN: true }), quantity, (current, factor, limit) => {
        const next = escalate(current, factor, limit);
        const before = parseQuantity(current) ?? 0;
        const most = parseQuantity(limit) ?? 0;
        expect(next === undefined).toBe(before >= most);
        if (next === undefined) return;
        expect(parseQuantity(next)).toBeGreaterThan(before);
        expect(parseQuantity(next)).toBeLessThanOrEqual(most);
      }),
      { seed: 20261122, numRuns: 500 },
    );
  });
});
