import { setTimeout as delay } from "node:timers/promises";
import { ClusterError } from "./cluster-error.ts";

export interface PollingOptions {
  readonly what: string;
  readonly deadlineMs: number;
  readonly intervalMs?: number;
  /** Checked at every turn: a dead process ends the wait at once instead of at the deadline. */
  readonly giveUp?: () => string | undefined;
}

/** Waits for a condition, never for a time: returns as soon as `condition` yields a value other than undefined. */
export async function poll<T>(condition: () => Promise<T | undefined> | T | undefined, options: PollingOptions): Promise<T> {
  const deadline = performance.now() + options.deadlineMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined) return value;
    const reason = options.giveUp?.();
    if (reason !== undefined) throw new ClusterError("COMPONENT_FAILED", `Waiting for ${options.what}: ${reason}`);
    if (performance.now() >= deadline) {
      throw new ClusterError("TIMED_OUT", `Waited ${Math.round(options.deadlineMs / 1000)} s for ${options.what}.`);
    }
    await delay(options.intervalMs ?? 100);
  }
}
