import { describe, expect, it } from "vitest";
import { ageText } from "./age.ts";

describe("ageText", () => {
  it.each([
    [-5, "0s"],
    [999, "0s"],
    [45_000, "45s"],
    [200_000, "3m20s"],
    [720_000, "12m"],
    [3_600_000, "1h"],
    [5_400_000, "1h30m"],
    [90_000_000, "1d1h"],
    [12 * 86_400_000 + 3_600_000, "12d"],
  ])("%d ms is %s", (spanMs, text) => {
    expect(ageText(spanMs)).toBe(text);
  });
});
