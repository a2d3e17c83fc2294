import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { FailureClass } from "./failure-class.ts";
import { historyProblems, longestLifeMs } from "./history-lint.ts";
import { dispatchConfig, type QueueConfig, queueConfig } from "./queue-config.ts";
import { retryDecision } from "./retry.ts";
import { recordIn } from "./testing/records.ts";

const DAY_MS = 86_400_000;
const queue = (fields: unknown): QueueConfig => queueConfig.parse(fields);

/** The pauses that a job really gets which fails in this order until it is dead, each as long as chance can make it. */
function pausesMs({ retry }: QueueConfig, failures: readonly FailureClass[]): number[] {
  const pauses: number[] = [];
  const policy = { config: retry, attempts: undefined, final: undefined, blocked: false, random: 1 - Number.EPSILON };
  let free = 0;
  for (const [index, failureClass] of failures.entries()) {
    const record = recordIn("running", { attempt: index + 1, budgetFrom: 1, counts: { free, blocked: 0, refused: 0 } });
    const decision = retryDecision(
      record,
      { kind: "failed", class: failureClass, reason: "", endedAt: "2026-01-01T00:00:00Z" },
      policy,
    );
    if (decision.kind === "dead") return pauses;
    pauses.push(decision.delayMs);
    if (decision.free) free += 1;
  }
  throw new Error("the job did not end");
}

describe("limits: history > longest deadline + longest retry", () => {
  it("the longest life is one attempt of the longest deadline and every pause that retries can get, whatever the order", () => {
    const seconds = (max: number) => fc.integer({ min: 0, max }).map((count) => `${count}s`);
    const configs = fc.record({
      deadlineMax: fc.integer({ min: 3600, max: 100_000 }).map((count) => `${count}s`),
      retry: fc.record({
        attempts: fc.integer({ min: 1, max: 12 }),
        backoff: fc.record(
          {
            initial: seconds(100),
            factor: fc.double({ min: 1, max: 10, noNaN: true }),
            max: seconds(10_000),
            delays: fc.array(seconds(1_000), { maxLength: 5 }),
          },
          { requiredKeys: ["initial", "factor", "max"] },
        ),
        freeLimit: fc.nat(12),
        freeBackoff: fc.record({ initial: seconds(100), max: seconds(1_000) }),
      }),
    });
    fc.assert(
      fc.property(configs, fc.boolean(), (config, freeFirst) => {
        const found = queue(config);
        const budget = Array<FailureClass>(found.retry.attempts - 1).fill("exit");
        const free = Array<FailureClass>(found.retry.freeLimit).fill("evicted");
        const order = freeFirst ? [...free, ...budget] : [...budget, ...free];
        const pauses = pausesMs(found, [...order, "exit"]);
        expect(pauses).toHaveLength(order.length);
        const lifeMs = found.deadlineMax + pauses.reduce((sum, pauseMs) => sum + pauseMs, 0);
        // Each pause is rounded to a millisecond.
        expect(Math.abs(longestLifeMs(found) - lifeMs)).toBeLessThanOrEqual(order.length + 1);
      }),
      { seed: 20261122, numRuns: 300 },
    );
  });

  it("the defaults live well within the default history", () => {
    expect(historyProblems(dispatchConfig.parse({ queues: { default: {} } }), 30 * DAY_MS)).toEqual([]);
  });

  it("each queue that does not is named, with what to do; a history of just the longest life is not longer", () => {
    const config = dispatchConfig.parse({
      queues: {
        quick: {},
        slow: { retry: { attempts: 15, backoff: { delays: ["5h"] }, freeLimit: 0 } },
        long: { deadlineMax: "40d", retry: { attempts: 1, freeLimit: 0 } },
      },
    });
    expect(historyProblems(config, 4 * DAY_MS)).toEqual([
      "queues.slow: a job may take 4d12h (deadlineMax 1d and the pauses of its retries), but history is 4d; " +
        "make history longer, or deadlineMax, retry.backoff or retry.freeLimit smaller",
      expect.stringMatching(/^queues\.long: a job may take 40d \(/u),
    ]);
    expect(historyProblems(config, 40 * DAY_MS)).toHaveLength(1);
    expect(historyProblems(config, 40 * DAY_MS + 1)).toEqual([]);
  });

  it("any number of free retries is summed up at once", () => {
    const retry = { freeLimit: Number.MAX_SAFE_INTEGER, freeBackoff: { initial: "0s", max: "1m" } };
    expect(longestLifeMs(queue({ deadlineMax: "2h", retry: { ...retry, attempts: 1 } }))).toBe(7_200_000);
    expect(longestLifeMs(queue({ retry: { ...retry, freeBackoff: { initial: "1s", max: "1m" } } }))).toBeGreaterThan(1e20);
  });
});
