import type { JobRecord } from "../../libs/contract/record.ts";
import type { RecordEvent } from "../../libs/contract/record-event.ts";
import type { JobStore } from "../../libs/streams/job-store.ts";

/** `undefined`: nothing is known of an end, the Job was deleted by somebody. */
export type KnownOutcome = RecordEvent | undefined;

/**
 * J5: what the streams know of a job whose record says that it runs though its Job is gone, or that it awaits an attempt that nobody holds. A record that was restored from older data knows
 * nothing of what happened since; EVENTS, RETRY and the DLQ do.
 */
export class MissingOutcome {
  readonly #store: Pick<JobStore, "events" | "deadLetters" | "retries">;
  readonly #nowMs: () => number;

  constructor(options: { readonly store: Pick<JobStore, "events" | "deadLetters" | "retries">; readonly nowMs: () => number }) {
    this.#store = options.store;
    this.#nowMs = options.nowMs;
  }

  async of(record: JobRecord): Promise<KnownOutcome> {
    const { events, deadLetters, retries } = this.#store;
    const at = new Date(this.#nowMs()).toISOString();
    // Each attempt that was settled as a retry leads to the next one.
    for (let attempt = record.attempt; ; attempt += 1) {
      const there = { ...record, attempt };
      for (const state of ["succeeded", "dead", "cancelled"] as const) {
        if (await events.has(there, state)) {
          return { kind: "outcomeSeen", attempt, state, job: await events.jobOf(there, state), at };
        }
      }
      if (await deadLetters.has(there)) {
        return { kind: "outcomeSeen", attempt, state: "dead", job: await events.jobOf(there, "created"), at };
      }
      const { id, hash, queue, type, messageHash, source, life } = record;
      if (source !== undefined && (await retries.holds(record, attempt + 1))) {
        const next = { id, hash, queue, type, messageHash, source, life, attempt: attempt + 1, memory: undefined };
        return { kind: "followed", ...next, at };
      }
      if (!(await events.has(there, "retrying"))) return undefined;
    }
  }
}
