import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { parse } from "yaml";
import { historyProblems } from "../libs/contract/history-lint.ts";
import { dispatchConfig } from "../libs/contract/queue-config.ts";
import { jobNames } from "../scripts/jobs/job-folders.ts";

const HOUR_MS = 3_600_000;
const { workers } = parse(readFileSync(join(import.meta.dirname, "values.yaml"), "utf8"));

it("names every worker of this folder and no other", () => {
  expect(Object.keys(workers).sort()).toEqual(jobNames());
});

it("is what the services take, and fits the history that the chart keeps", () => {
  const config = dispatchConfig.parse({ queues: { default: {} }, templates: {}, workers });
  expect(historyProblems(config, 720 * HOUR_MS)).toEqual([]);
});

it("K4: the seed's 15 attempts over three days are said as they are meant", () => {
  const { retry } = dispatchConfig.parse({ queues: { default: {} }, templates: {}, workers }).workers["image-download"] ?? {};
  expect(retry).toMatchObject({ attempts: 15, backoff: { initial: 41 * 60_000, increment: 41 * 60_000 } });
});
