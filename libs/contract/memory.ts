import { parseQuantity } from "./units.ts";

const MI = 2 ** 20;

/**
 * The memory of the next attempt after one that ran out of `current`: `factor` times as much in whole Mi, at most `limit`. Undefined when
 * there is no more to give.
 */
export function escalate(current: string, factor: number, limit: string): string | undefined {
  const currentBytes = parseQuantity(current);
  const limitBytes = parseQuantity(limit);
  if (currentBytes === undefined || limitBytes === undefined || currentBytes >= limitBytes) return undefined;
  // 50Mi × 1.1 is 55Mi, not the 56 that floating point would round it up to.
  const wanted = Math.ceil(Number(((currentBytes * factor) / MI).toFixed(6)));
  const next = Math.max(wanted, Math.floor(currentBytes / MI) + 1);
  return next * MI >= limitBytes ? limit : `${next}Mi`;
}
