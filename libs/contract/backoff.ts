import type { BackoffConfig, FreeBackoffConfig } from "./retry-config.ts";

/** Up to a fifth more or less, so that what failed together does not return together. */
export const JITTER = 0.2;
const FREE_FACTOR = 2;

/** The pause after the `burnt`-th attempt that counted against the budget (1 = the first), in milliseconds. */
export function budgetPauseMs({ delays, initial, factor, increment, max }: BackoffConfig, burnt: number): number {
  const listed = delays?.[Math.min(burnt, delays.length) - 1];
  if (listed !== undefined) return listed;
  return increment === undefined ? grown(initial, factor, burnt - 1, max) : Math.min(initial + increment * (burnt - 1), max);
}

/** The pause after an attempt that ended through nobody's fault, when `before` ended so before it. */
export function freePauseMs({ initial, max }: FreeBackoffConfig, before: number): number {
  return grown(initial, FREE_FACTOR, before, max);
}

/** `random` in [0, 1). */
export function jittered(delayMs: number, random: number): number {
  return Math.round(delayMs * (1 - JITTER + 2 * JITTER * random));
}

/** Without a first pause there is none later: 0 × ∞ would be no number. */
function grown(initialMs: number, factor: number, times: number, maxMs: number): number {
  return initialMs === 0 ? 0 : Math.min(initialMs * factor ** times, maxMs);
}
