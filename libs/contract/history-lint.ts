import type { DispatchConfig, QueueConfig } from "./queue-config.ts";

/** Pauses are varied by a fifth (`retryDecision`). */
const JITTER = 0.2;

/**
 * How long a job of this queue may take to its end, as far as its messages can make it: one attempt of the longest deadline, and every
 * pause between attempts at its longest. What is kept of it must not be gone before (limits: history > longest deadline + longest retry).
 */
export function longestLifeMs({ deadlineMax, retry }: Pick<QueueConfig, "deadlineMax" | "retry">): number {
  const pausesMs = budgetPausesMs(retry) + freePausesMs(retry);
  return deadlineMax + Math.ceil(pausesMs * (1 + JITTER));
}

/** What a person must change, one sentence for each queue whose jobs may outlive what is kept of them. */
export function historyProblems({ queues }: Pick<DispatchConfig, "queues">, historyMs: number): string[] {
  return Object.entries(queues).flatMap(([name, queue]) => {
    const lifeMs = longestLifeMs(queue);
    if (lifeMs < historyMs) return [];
    return [
      `queues.${name}: a job may take ${durationText(lifeMs)} (deadlineMax ${durationText(queue.deadlineMax)} and the pauses of its ` +
        `retries), but history is ${durationText(historyMs)}; make history longer, or deadlineMax, retry.backoff or retry.freeLimit smaller`,
    ];
  });
}

function budgetPausesMs({ attempts, backoff }: QueueConfig["retry"]): number {
  let sumMs = 0;
  for (let pause = 0; pause < attempts - 1; pause += 1) {
    const listed = backoff.delays?.[Math.min(pause, backoff.delays.length - 1)];
    sumMs += listed ?? Math.min(backoff.initial * backoff.factor ** pause, backoff.max);
  }
  return sumMs;
}

/** In steps only while the pauses grow: `freeLimit` may be any number. */
function freePausesMs({ freeLimit, freeBackoff }: QueueConfig["retry"]): number {
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
