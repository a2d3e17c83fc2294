import { expect, it } from "vitest";
import { SharedValues } from "./shared-values.ts";

it("equal records are one", () => {
  const shared = new SharedValues();
  const first = shared.record({ main: "64Mi" });
  expect(shared.record({ main: "64Mi" })).toBe(first);
  expect(shared.record({ main: "32Mi" })).toEqual({ main: "32Mi" });
});

it("what is kept does not grow with the number of different values", () => {
  const shared = new SharedValues();
  const first = shared.record({ main: "0" });
  for (let n = 0; n < 5_000; n += 1) shared.record({ main: `${n}Mi` });
  expect(shared.record({ main: "0" })).not.toBe(first);
  expect(shared.text("a")).toBe("a");
});
