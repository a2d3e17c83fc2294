import { budgetPauseMs, JITTER } from "./backoff.ts";
import type { DispatchConfig, QueueConfig } from "./queue-config.ts";
import type { WorkerConfig } from "./work-config.ts";

/**
 * How long a job of this queue may take to its end, as far as its messages can make it: one attempt of the longest deadline, and every
 * pause between attempts at its longest. What is kept of it must not be gone before (limits: history > longest deadline + longest retry).
 */
export function longestLifeMs({ deadlineMax, retry }: Pick<QueueConfig, "deadlineMax" | "retry">): number {
  const pausesMs = budgetPausesMs(retry) + freePausesMs(retry);
  return deadlineMax + Math.ceil(pausesMs * (1 + JITTER));
}

/** The same of a worker's message: all its attempts at their longest, and the pauses between them. */
export function longestWorkMs({ timeout, retry }: Pick<WorkerConfig, "timeout" | "retry">): number {
  const pausesMs = budgetPausesMs(retry) + freePausesMs(retry);
  return (retry.attempts + retry.freeLimit) * timeout + Math.ceil(pausesMs * (1 + JITTER));
}

/** What a person must change, one sentence for each queue and worker whose work may outlive what is kept of it. */
export function historyProblems(
  { queues, workers = {} }: Pick<DispatchConfig, "queues"> & Partial<Pick<DispatchConfig, "workers">>,
  historyMs: number,
): string[] {
  return [...queueProblems(queues, historyMs), ...workerProblems(workers, historyMs)];
}

function workerProblems(workers: DispatchConfig["workers"], historyMs: number): string[] {
  return Object.entries(workers).flatMap(([name, worker]) => {
    const lifeMs = longestWorkMs(worker);
    if (lifeMs < historyMs) return [];
    return [
      `workers.${name}: a message may take ${durationText(lifeMs)} (its attempts at timeout ${durationText(worker.timeout)} and the ` +
        `pauses between them), but history is ${durationText(historyMs)}; make history longer, or timeout, retry.attempts, retry.backoff or retry.freeLimit smaller`,
    ];
  });
}

function queueProblems(queues: DispatchConfig["queues"], historyMs: number): string[] {
  return Object.entries(queues).flatMap(([name, queue]) => {
    const lifeMs = longestLifeMs(queue);
    if (lifeMs < historyMs) return [];
    return [
      `queues.${name}: a job may take ${durationText(lifeMs)} (deadlineMax ${durationText(queue.deadlineMax)} and the pauses of its ` +
        `retries), but history is ${durationText(historyMs)}; make history longer, or deadlineMax, retry.backoff or retry.freeLimit smaller`,
    ];
  });
}

type Pauses = Pick<QueueConfig["retry"], "attempts" | "backoff" | "freeLimit" | "freeBackoff">;

function budgetPausesMs({ attempts, backoff }: Pauses): number {
  let sumMs = 0;
  for (let burnt = 1; burnt < attempts; burnt += 1) sumMs += budgetPauseMs(backoff, burnt);
  return sumMs;
}

/** In steps only while the pauses grow: `freeLimit` may be any number. */
function freePausesMs({ freeLimit, freeBackoff }: Pauses): number {
  let sumMs = 0;
  let pauseMs = freeBackoff.initial;
  let left = freeLimit;
  while (left > 0 && 0 < pauseMs && pauseMs < freeBackoff.max) {
    sumMs += pauseMs;
    pauseMs *= 2;
    left -= 1;
  }
  return sumMs + left * Math.min(pauseMs, freeBackoff.max);
}

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
] as const;

/** As a person would say it: the two largest units, of which the second rounds down. */
function durationText(durationMs: number): string {
  const first = UNITS.findIndex(([, unitMs]) => durationMs >= unitMs);
  if (first === -1) return `${durationMs}ms`;
  let restMs = durationMs;
  return UNITS.slice(first, first + 2)
    .map(([unit, unitMs]) => {
      const count = Math.floor(restMs / unitMs);
      restMs -= count * unitMs;
      return count === 0 ? "" : `${count}${unit}`;
    })
    .join("");
}
