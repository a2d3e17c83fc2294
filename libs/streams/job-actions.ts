import type { JobRecord, JobReference } from "../contract/record.ts";
import { transition } from "../contract/transition.ts";
import type { RecordStore } from "./records.ts";
import type { Settler } from "./settle.ts";

/** The job that a person names. */
export interface JobTarget {
  readonly id: string;
  readonly hash: string;
  readonly queue: string;
}

export type CancelOutcome =
  | { readonly kind: "cancelled" | "already"; readonly record: JobRecord }
  /** P1: it runs. Its attempt has to be stopped first (rule J2); the verdict then cancels it. */
  | { readonly kind: "running"; readonly record: JobRecord; readonly job: JobReference }
  | { readonly kind: "refused"; readonly why: string };

export type RerunOutcome =
  | { readonly kind: "scheduled"; readonly record: JobRecord }
  | { readonly kind: "unknown" }
  | { readonly kind: "refused"; readonly why: string };

/** What people ask of a job (rules P1–P3). Each can be asked again without harm. */
export class JobActions {
  readonly #records: RecordStore;
  readonly #settler: Settler;
  readonly #nowMs: () => number;

  constructor(options: { readonly records: RecordStore; readonly settler: Settler; readonly nowMs: () => number }) {
    this.#records = options.records;
    this.#settler = options.settler;
    this.#nowMs = options.nowMs;
  }

  /** A job that no message was pulled of yet gets a tombstone; a sleeping one never wakes. */
  async cancel({ id, hash, queue }: JobTarget, reason: string): Promise<CancelOutcome> {
    for (;;) {
      const record = (await this.#records.get(hash))?.record;
      if (record?.state === "running" && record.job !== undefined) return { kind: "running", record, job: record.job };
      const outcome = await this.#settler.settle(
        hash,
        { kind: "cancelled", id, hash, queue, reason, at: this.#now() },
        undefined,
      );
      if (outcome.kind === "settled") return { kind: outcome.first ? "cancelled" : "already", record: outcome.record };
      // Refused because it began to run in between: look again. Refused because it has ended: say so.
      if ((await this.#records.get(hash))?.record.state !== "running") return outcome;
    }
  }

  /**
   * Another life of a job that has ended. What the former life still owes is done first, for nobody would do it afterwards; so the record must
   * be the very one that this was done for.
   */
  async rerun({ hash }: JobTarget, reason: string): Promise<RerunOutcome> {
    for (;;) {
      const stored = await this.#records.get(hash);
      if (stored === undefined) return { kind: "unknown" };
      const again = transition(stored.record, { kind: "startedAgain", reason, at: this.#now() });
      if (again.kind === "refused") return again;
      if (again.kind === "already") {
        await this.#settler.finish(again.record, undefined);
        return { kind: "scheduled", record: again.record };
      }
      if ((await this.#settler.findMessage(stored.record)) === undefined) {
        return { kind: "refused", why: "its message is kept nowhere any more; publish it again under a new id" };
      }
      await this.#settler.finish(stored.record, undefined);
      if ((await this.#records.swap(again.record, stored.revision)).kind === "lost") continue;
      await this.#settler.finish(again.record, undefined);
      return { kind: "scheduled", record: again.record };
    }
  }

  #now(): string {
    return new Date(this.#nowMs()).toISOString();
  }
}
