import { errorText } from "../../libs/contract/errors.ts";
import { jobFields } from "../../libs/contract/job-fields.ts";
import type { JobRecord } from "../../libs/contract/record.ts";
import type { Log } from "../../libs/runtime/log.ts";
import { type Metrics, queueLabel } from "../../libs/runtime/metrics.ts";
import type { JobStore } from "../../libs/streams/job-store.ts";
import type { MissingOutcome } from "./missing-outcome.ts";
import type { Patience } from "./patience.ts";

/** A schedule that fires a little late is not lost. */
const OVERDUE_MS = 10_000;
/** Delayed starts may be very many, and nearly all of them sleep on. */
const CHUNK = 128;

/**
 * Records that await an attempt (rule S2): whatever should be in RETRY and is not is published again. What waits for a queue that is not
 * configured any more is dead after a while, for nobody would ever pull it.
 */
export class SleepingRecords {
  readonly #store: Pick<JobStore, "records" | "retries" | "settler">;
  readonly #missing: Pick<MissingOutcome, "of">;
  readonly #queues: () => Readonly<Record<string, unknown>>;
  readonly #patience: Patience;
  readonly #nowMs: () => number;
  readonly #metrics: Metrics;
  readonly #log: Log;

  constructor(options: {
    readonly store: Pick<JobStore, "records" | "retries" | "settler">;
    readonly missing: Pick<MissingOutcome, "of">;
    readonly queues: () => Readonly<Record<string, unknown>>;
    readonly patience: Patience;
    readonly nowMs: () => number;
    readonly metrics: Metrics;
    readonly log: Log;
  }) {
    this.#store = options.store;
    this.#missing = options.missing;
    this.#queues = options.queues;
    this.#patience = options.patience;
    this.#nowMs = options.nowMs;
    this.#metrics = options.metrics;
    this.#log = options.log;
  }

  async sweep(signal: AbortSignal, beat: () => void): Promise<void> {
    const { records } = this.#store;
    const removed = new Map<string, boolean>();
    const asleep = new Map(Object.keys(this.#queues()).map((queue) => [queue, 0]));
    const hashes = await records.inState("retrying", signal);
    for (let start = 0; start < hashes.length; start += CHUNK) {
      for (const hash of await this.#notAsleep(hashes.slice(start, start + CHUNK), removed, asleep)) {
        if (signal.aborted) return;
        // One that cannot be healed keeps none of the others from it.
        await this.#lookAt(hash, removed).catch((error: unknown) => {
          this.#log.warn("sweep.record-failed", { hash, problem: errorText(error) });
        });
        beat();
      }
      if (signal.aborted) return;
    }
    this.#metrics.sleepingRetries.reset();
    for (const [queue, count] of asleep) this.#metrics.sleepingRetries.set({ queue }, count);
  }

  /** Those of which something may have to be done, by reads that may be stale: the others are seen by the next sweep. */
  async #notAsleep(
    hashes: readonly string[],
    removed: Map<string, boolean>,
    asleep: Map<string, number>,
  ): Promise<readonly string[]> {
    const found = await this.#store.records.getMany(hashes, (hash) => this.#log.warn("sweep.record-unreadable", { hash }));
    return hashes.filter((hash) => {
      const record = found.get(hash)?.record;
      if (record !== undefined) this.#count(record, asleep);
      return record !== undefined && (this.#isGivenUp(record, removed) || this.#isOverdue(record));
    });
  }

  #count({ queue, next }: JobRecord, asleep: Map<string, number>): void {
    if (next === undefined || Date.parse(next.notBefore) <= this.#nowMs()) return;
    const label = queueLabel(queue, this.#queues());
    asleep.set(label, (asleep.get(label) ?? 0) + 1);
  }

  #isGivenUp({ queue }: JobRecord, removed: Map<string, boolean>): boolean {
    const known = removed.get(queue) ?? this.#isRemoved(queue);
    removed.set(queue, known);
    return known;
  }

  #isOverdue({ next }: JobRecord): boolean {
    return next !== undefined && Date.parse(next.notBefore) + OVERDUE_MS <= this.#nowMs();
  }

  async #lookAt(hash: string, removed: Map<string, boolean>): Promise<void> {
    const record = (await this.#store.records.get(hash))?.record;
    if (record?.state !== "retrying") return;
    await this.#heal(record, this.#isGivenUp(record, removed));
  }

  #isRemoved(queue: string): boolean {
    if (!Object.hasOwn(this.#queues(), queue)) return this.#patience.isExhausted(queue);
    this.#patience.over(queue);
    return false;
  }

  async #heal(record: JobRecord, isRemoved: boolean): Promise<void> {
    const { retries, settler } = this.#store;
    const { next, hash, life } = record;
    if (next === undefined) return;
    const awaited = awaitedFields(record, next.attempt);
    if (isRemoved) return this.#giveUp(record, "UNKNOWN_QUEUE: its queue is not configured any more");
    if (!this.#isOverdue(record) || (await retries.holds(record, next.attempt))) return;
    // A record that was restored from older data awaits what has happened long ago.
    const known = await this.#missing.of({ ...record, attempt: next.attempt });
    if (known !== undefined) {
      this.#log.warn("job.outcome-found", { ...awaited, outcome: known.kind });
      await settler.settle(hash, known, undefined);
      return;
    }
    if ((await settler.findMessage(record)) === undefined) return this.#giveUp(record, "bytes-lost: its message is kept nowhere");
    this.#log.warn("retry.missing", { ...awaited, life });
    await settler.finish(record, undefined);
  }

  async #giveUp(record: JobRecord, reason: string): Promise<void> {
    const { retries, settler } = this.#store;
    const { next, hash, life } = record;
    if (next === undefined) return;
    const { attempt } = next;
    const waiting = await retries.waiting(record, attempt);
    // What is refused is settled by the message that waits; without one by the last that is known.
    const source = waiting ?? record.source;
    if (source === undefined) return;
    this.#log.warn("retry.given-up", { ...awaitedFields(record, attempt), reason });
    const at = new Date(this.#nowMs()).toISOString();
    const outcome = await settler.settle(hash, { kind: "refused", attempt, life, source, reason, at }, undefined);
    if (outcome.kind === "settled" && outcome.first) {
      this.#metrics.messagesFailed.inc({ queue: queueLabel(record.queue, this.#queues()) });
    }
    await retries.cancel(hash, attempt);
  }
}

/** The Job that the record names is the attempt before. */
function awaitedFields(record: JobRecord, attempt: number) {
  return jobFields({ ...record, attempt, job: undefined });
}
