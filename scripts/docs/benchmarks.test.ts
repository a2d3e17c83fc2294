import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { median, quantile, spread } from "../../bench/harness/rounds.ts";
import { benchmarksPage, savedReports, unmeasured } from "./benchmarks.ts";

const DISPATCH = {
  name: "dispatch",
  title: "Throughput",
  method: ["in turns"],
  goals: [{ what: "dispatcher", target: "≥ 90 %", figure: "85 (80–88) %", met: false, note: "the disk" }],
  tables: [{ title: "CPU", columns: ["", "ms"], rows: [["raw | loop", "2"]] }],
  machine: { Cores: "2" },
  rounds: 5,
  quick: false,
  at: "2026-01-02T00:00:00.000Z",
};

it("the page says of each target what was measured, whether that is enough, and why not; and on which machine", () => {
  const page = benchmarksPage([DISPATCH]);
  expect(page).toContain("| dispatcher | ≥ 90 % | 85 (80–88) % | **not met**: the disk |");
  expect(page).toContain("| raw \\| loop | 2 |");
  expect(page).toContain("- 5 rounds after one of warm-up, 2026-01-02.");
  expect(page).toContain("| Cores | 2 |");
});

it("what a quick run measured is no figure, and the order is the same each time", () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-bench-"));
  try {
    for (const [name, quick] of [
      ["keda", false],
      ["dispatch", false],
      ["growth", true],
    ] as const) {
      writeFileSync(join(folder, `${name}.json`), JSON.stringify({ ...DISPATCH, name, quick }));
    }
    expect(savedReports(folder).map(({ name }) => name)).toEqual(["dispatch", "keda"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
  expect(savedReports(folder)).toEqual([]);
});

it("a page of some benches would lose the others: which are missing is said", () => {
  const all = ["dispatch", "latency", "growth", "keda", "scale"].map((name) => ({ name }));
  expect(unmeasured(all)).toEqual([]);
  expect(unmeasured(all.slice(2))).toEqual(["dispatch", "latency"]);
});

it("a median lies between the two in the middle, a quantile is one of the values", () => {
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([3, 1, 2])).toBe(2);
  expect(quantile([5, 1, 2, 3, 4], 0.5)).toBe(3);
  expect(quantile([1, 2], 0.99)).toBe(2);
  expect(spread([2, 1, 3])).toBe("2 (1–3)");
});
