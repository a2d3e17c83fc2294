const LEAST_MS = 1_000;
/** An origin that asks for more is asked again each hour: what a stranger says must not park a message past the streams' history. */
const MOST_MS = 3_600_000;

/** Seconds or an HTTP date. Undefined: not given, or nonsense. */
export function retryAfterMs(header: string | string[] | undefined, nowMs: number): number | undefined {
  const text = typeof header === "string" ? header.trim() : "";
  if (text === "") return undefined;
  const askedMs = /^\d{1,10}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - nowMs;
  return Number.isNaN(askedMs) ? undefined : Math.min(Math.max(askedMs, LEAST_MS), MOST_MS);
}
