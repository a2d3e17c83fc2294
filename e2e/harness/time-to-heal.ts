import type { TailedEvent } from "./event-tail.ts";

type JobWord = Pick<TailedEvent, "hash" | "kind" | "storedAtMs">;

const ENDS: ReadonlySet<string> = new Set(["succeeded", "dead", "cancelled"]);

function isEnd({ kind }: Pick<JobWord, "kind">): boolean {
  return ENDS.has(kind);
}

export function haveAllEnded(events: readonly JobWord[], hashes: Iterable<string>): boolean {
  const ended = new Set(events.filter(isEnd).map(({ hash }) => hash));
  return [...hashes].every((hash) => ended.has(hash));
}

/**
 * How long after a moment all of these jobs had gone on: each was created, or its end was recorded. What had ended before needed nothing. One that goes
 * on at once says nothing of the others, some of which were in the hands of nobody that a fault had befallen: the last one counts.
 *
 * Null when one of them did not.
 */
export function timeToHealMs(events: readonly JobWord[], hashes: Iterable<string>, sinceMs: number): number | null {
  const words = Map.groupBy(events, ({ hash }) => hash);
  let lastMs = sinceMs;
  for (const hash of hashes) {
    const own = words.get(hash) ?? [];
    if (own.some((word) => isEnd(word) && word.storedAtMs <= sinceMs)) continue;
    const next = own.filter((word) => (word.kind === "created" || isEnd(word)) && word.storedAtMs > sinceMs);
    if (next.length === 0) return null;
    lastMs = Math.max(lastMs, Math.min(...next.map(({ storedAtMs }) => storedAtMs)));
  }
  return lastMs - sinceMs;
}
