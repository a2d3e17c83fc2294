import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { WorkerMetrics } from "./metrics.ts";

const docs = readFileSync(join(import.meta.dirname, "../../docs/worker-sdk.md"), "utf8");

describe("the metrics of a worker", () => {
  it("are those that the docs name, with the worker as their label", async () => {
    const text = await new WorkerMetrics("image-resize").text();
    const named = new Set([...text.matchAll(/^# TYPE (millrace_\w+) (\w+)$/gm)].map(([, name, type]) => `${name} ${type}`));
    const told = new Set(
      [...docs.matchAll(/^\| `(millrace_worker_\w+)` \| (\w+) \|/gm)].map(([, name, type]) => `${name} ${type}`),
    );
    expect(named).toEqual(told);
    for (const line of text.split("\n").filter((sample) => sample.startsWith("millrace_")))
      expect(line).toContain('worker="image-resize"');
  });
});
