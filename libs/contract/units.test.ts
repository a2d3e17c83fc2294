import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { durationMs, parseQuantity, quantity } from "./units.ts";

describe("queue configuration: durations", () => {
  it.each([
    ["0s", 0],
    ["250ms", 250],
    ["90s", 90_000],
    ["1h30m", 5_400_000],
    ["30d", 2_592_000_000],
    ["1m1ms", 60_001],
  ])("%s is %d ms", (text, expected) => {
    expect(durationMs.parse(text)).toBe(expected);
  });

  it.each(["", "1", "s", "-1s", "1.5s", "1 s", "1s ", "1w", "1S", "10"])("%j is refused", (text) => {
    expect(durationMs.safeParse(text).success).toBe(false);
  });
});

describe("queue configuration: Kubernetes quantities", () => {
  it.each([
    ["500m", 0.5],
    ["1", 1],
    ["1.5", 1.5],
    [".5", 0.5],
    ["1.", 1],
    ["1k", 1e3],
    ["8Gi", 8 * 2 ** 30],
    ["1e3", 1e3],
    ["1E3", 1e3],
    ["1E", 1e18],
    ["100n", 1e-7],
    ["2Ei", 2 ** 61],
  ])("%s is %d", (text, expected) => {
    expect(parseQuantity(text)).toBeCloseTo(expected, 12);
  });

  it.each(["", "Gi", "-1", "+1", "1K", "1gi", "1 Gi", "1Gi ", "0x1", "1e", "Infinity", "NaN", ".", "constructor"])(
    "%j is none",
    (text) => {
      expect(parseQuantity(text)).toBeUndefined();
      expect(quantity.safeParse(text).success).toBe(false);
    },
  );

  it("bare numbers are taken as people write them in YAML, and kept as text", () => {
    expect(quantity.parse(4)).toBe("4");
    expect(quantity.safeParse(-1).success).toBe(false);
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e15, noNaN: true }), (value) => {
        expect(parseQuantity(quantity.parse(value))).toBe(value);
      }),
    );
  });
});

it("a duration beyond ten years is none: times could no longer be written down", () => {
  expect(durationMs.safeParse("3650d").success).toBe(true);
  expect(durationMs.safeParse("3651d").success).toBe(false);
});
