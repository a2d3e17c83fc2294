import { errorText } from "../../libs/contract/errors.ts";
import { pause } from "../../libs/runtime/backoff.ts";
import type { Heartbeat } from "../../libs/runtime/health.ts";
import type { Service } from "../../libs/runtime/lifecycle.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";
import type { RecordStore } from "../../libs/streams/records.ts";
import type { Observer } from "./observer.ts";
import type { Reconciler } from "./reconciler.ts";

/** Something that a sweep looks through beside the running records. */
export interface Sweep {
  /** `beat` after each piece of it, so that a long sweep is not taken for one that stands still. */
  sweep(signal: AbortSignal, beat: () => void): Promise<void>;
}

export interface SweeperOptions {
  readonly records: Pick<RecordStore, "get" | "inState">;
  readonly observer: Pick<Observer, "problemIn" | "problems" | "jobs" | "goneJobs" | "sighting">;
  readonly reconciler: Pick<Reconciler, "isDone" | "reconcileMissing">;
  readonly namespaces: { isGone(name: string): Promise<boolean> };
  readonly others: readonly Sweep[];
  readonly enqueue: (uid: string) => void;
  readonly intervalMs: number;
  readonly log: Log;
  readonly heartbeat: Heartbeat;
  readonly metrics: Pick<Metrics, "sweepFailures">;
}

/** Between two sweeps, however often the watches begin anew. */
const SHORTEST_PAUSE_MS = 2_000;

/**
 * Compares the stores with the cluster from time to time, and after each gap of a watch, and finds what edge-triggered work missed: records that
 * run without a Job (rule J5), Jobs that were not settled (F1, F2), retries that are nowhere (S2), messages that reach nobody. It concludes nothing
 * from a watch that does not follow its namespace, unless that namespace is gone.
 */
export class Sweeper implements Service, Sweep {
  readonly name = "sweeper";
  readonly #options: SweeperOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  /** Aborted when the next sweep is not to wait for its time. */
  #soon = new AbortController();

  constructor(options: SweeperOptions) {
    this.#options = options;
  }

  start(): Promise<void> {
    this.#running ??= this.#run();
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** A gap is over: what nothing was concluded of meanwhile does not wait for the interval. */
  soon(): void {
    this.#soon.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const { intervalMs, heartbeat } = this.#options;
    const shortestMs = Math.min(intervalMs, SHORTEST_PAUSE_MS);
    heartbeat.beat();
    while (!signal.aborted) {
      this.#soon = new AbortController();
      const isWanted = AbortSignal.any([signal, this.#soon.signal]);
      await this.sweep(signal);
      await pause(shortestMs, signal);
      await pause(intervalMs - shortestMs, isWanted);
    }
    heartbeat.rest();
  }

  /** Once through everything. One part that fails keeps none of the others from being done. */
  async sweep(signal: AbortSignal): Promise<void> {
    const { others, heartbeat, metrics, log } = this.#options;
    const beat = (): void => heartbeat.beat();
    for (const part of [() => this.#lookThrough(signal), ...others.map((other) => () => other.sweep(signal, beat))]) {
      await part().catch((error: unknown) => {
        if (signal.aborted) return;
        metrics.sweepFailures.inc();
        log.warn("sweep.failed", { problem: errorText(error) });
      });
      beat();
    }
  }

  async #lookThrough(signal: AbortSignal): Promise<void> {
    const { observer, records, reconciler, enqueue, log } = this.#options;
    for (const problem of observer.problems()) log.warn("sweep.namespace-skipped", { problem });
    // First of all, so that a term that begins has every Job looked at, also when no record can be read.
    for (const { uid } of observer.jobs()) if (!reconciler.isDone(uid)) enqueue(uid);
    for (const uid of observer.goneJobs()) enqueue(uid);
    // The records before the Jobs: one that appears after they were read is then among those seen.
    const running = await records.inState("running", signal);
    const seen = new Set<string>();
    for (const { uid } of observer.jobs()) seen.add(uid);
    const gone = new Map<string, Promise<boolean>>();
    for (const hash of running) {
      if (signal.aborted) return;
      // One that cannot be read or settled keeps none of the others from being looked at.
      await this.#lookAt(hash, seen, gone).catch((error: unknown) => {
        log.warn("sweep.record-failed", { hash, problem: errorText(error) });
      });
      this.#options.heartbeat.beat();
    }
  }

  async #lookAt(hash: string, seen: ReadonlySet<string>, gone: Map<string, Promise<boolean>>): Promise<void> {
    const { observer, records, reconciler } = this.#options;
    const record = (await records.get(hash))?.record;
    const job = record?.job;
    if (record?.state !== "running" || job === undefined) return;
    if (seen.has(job.uid) || observer.sighting(job.uid) !== undefined) return;
    if (await this.#mayConclude(job.namespace, gone)) await reconciler.reconcileMissing(record, job);
  }

  async #mayConclude(namespace: string, gone: Map<string, Promise<boolean>>): Promise<boolean> {
    if (this.#options.observer.problemIn(namespace) === undefined) return true;
    const asked = gone.get(namespace) ?? this.#options.namespaces.isGone(namespace);
    gone.set(namespace, asked);
    return asked;
  }
}
