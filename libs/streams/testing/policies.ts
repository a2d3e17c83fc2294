import type { RetryPolicy } from "../../contract/retry.ts";
import { retryConfig } from "../../contract/retry-config.ts";

/** A queue's retries as a test wants them; the pauses are exact. */
export function retryPolicy(config: Parameters<typeof retryConfig.parse>[0] = {}, rest: Partial<RetryPolicy> = {}): RetryPolicy {
  return { config: retryConfig.parse(config), attempts: undefined, final: undefined, blocked: false, random: 0.5, ...rest };
}

export const DUE_NOW = retryPolicy({ backoff: { delays: ["0s"] } });
export const ONE_HOUR_LATER = retryPolicy({ backoff: { delays: ["1h"] } });
export const NEVER_AGAIN = retryPolicy({ attempts: 1 });
