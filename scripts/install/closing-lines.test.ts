import { expect, it } from "vitest";
import { closingLines } from "./closing-lines.ts";

const unit = { name: "unit", passed: 10, failed: 0, seconds: 3.4 };
const e2e = { name: "e2e", passed: 5, failed: 1, seconds: 125 };

it("shows each suite's time and that of all of them, and closes with the sum", () => {
  const { text, ok } = closingLines([unit, e2e], 126);
  const lines = text.split("\n");
  expect(lines[0]).toMatch(/^unit +10 passed +0 failed +3 s$/);
  expect(lines[1]).toMatch(/^e2e +5 passed +1 failed +2 min 05 s$/);
  expect(lines[2]).toMatch(/^all +15 passed +1 failed +2 min 06 s$/);
  expect(lines.at(-1)).toBe("15 passed, 1 failed");
  expect(ok).toBe(false);
});

it("is a success only when something passed", () => {
  expect(closingLines([unit], 4).ok).toBe(true);
  expect(closingLines([{ ...unit, passed: 0 }], 4).ok).toBe(false);
});
