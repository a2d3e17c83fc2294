import { budgetPauseMs, freePauseMs, jittered } from "./backoff.ts";
import { assertNever } from "./errors.ts";
import type { WorkRetryConfig } from "./work-config.ts";
import type { WorkCounts } from "./work-message.ts";

/** What ended an attempt at a worker's message that did not succeed. */
export const WORK_CLASSES = [
  "error",
  "timeout",
  "oom",
  "exit",
  "evicted",
  "preempted",
  "nodeLost",
  "lost",
  "later",
  "nonRetryable",
  "invalid",
] as const;
export type WorkClass = (typeof WORK_CLASSES)[number];

/** What a class costs: one of the attempts, nothing up to `freeLimit`, or everything. */
export const EFFECT_OF_WORK_CLASS: Readonly<Record<WorkClass, "budget" | "free" | "dead">> = {
  error: "budget",
  timeout: "budget",
  oom: "budget",
  exit: "budget",
  evicted: "free",
  preempted: "free",
  nodeLost: "free",
  lost: "free",
  later: "free",
  nonRetryable: "dead",
  invalid: "dead",
};

export interface WorkEnd {
  readonly class: WorkClass;
  /** For people: one line, never the body of the message. */
  readonly reason: string;
}

export type WorkDecision =
  | { readonly kind: "retry"; readonly delayMs: number }
  /** `why`: which limit it reached; "" when its class says it all. */
  | { readonly kind: "dead"; readonly why: string };

/** The counts with this end in them. */
export function countedEnd({ failures, free }: WorkCounts, { class: ended }: Pick<WorkEnd, "class">): WorkCounts {
  const effect = EFFECT_OF_WORK_CLASS[ended];
  return { failures: failures + (effect === "budget" ? 1 : 0), free: free + (effect === "free" ? 1 : 0) };
}

/**
 * Is a message tried again, and when? `counts` have the end in them already (`countedEnd`). `random` in [0, 1). What first ended through nobody's
 * fault goes on at once: most often somebody waits for it, and the pod was merely moved. `askedMs`: the pause that the handler itself asked for.
 */
export function workDecision(
  counts: WorkCounts,
  ended: WorkEnd,
  retry: WorkRetryConfig,
  random: number,
  askedMs?: number,
): WorkDecision {
  const effect = EFFECT_OF_WORK_CLASS[ended.class];
  switch (effect) {
    case "dead":
      return { kind: "dead", why: "" };
    case "budget":
      if (counts.failures >= retry.attempts) {
        const why = retry.attempts === 1 ? "its only attempt" : `all ${retry.attempts} attempts are used up`;
        return { kind: "dead", why };
      }
      return { kind: "retry", delayMs: jittered(budgetPauseMs(retry.backoff, counts.failures), random) };
    case "free":
      if (counts.free > retry.freeLimit) {
        return { kind: "dead", why: `${counts.free} attempts ended through nobody's fault; freeLimit allows ${retry.freeLimit}` };
      }
      if (askedMs !== undefined) return { kind: "retry", delayMs: askedMs };
      return { kind: "retry", delayMs: counts.free <= 1 ? 0 : jittered(freePauseMs(retry.freeBackoff, counts.free - 2), random) };
    default:
      return assertNever(effect);
  }
}
