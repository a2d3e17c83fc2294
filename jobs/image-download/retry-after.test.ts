import { expect, it } from "vitest";
import { retryAfterMs } from "./retry-after.ts";

const nowMs = Date.UTC(2030, 0, 1);

it.each([
  ["seconds", "120", 120_000],
  ["a date", new Date(nowMs + 90_000).toUTCString(), 90_000],
  ["a date that is over", new Date(nowMs - 90_000).toUTCString(), 1_000],
  ["at once", "0", 1_000],
  ["a year", "31536000", 3_600_000],
  ["a number without end", "9".repeat(400), undefined],
  ["nonsense", "soon", undefined],
  ["nothing", "", undefined],
  ["two of them", ["1", "2"], undefined],
  ["no header", undefined, undefined],
])("Retry-After: %s", (_, header, expected) => {
  expect(retryAfterMs(header, nowMs)).toBe(expected);
});
