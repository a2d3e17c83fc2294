import { errorText } from "../../libs/contract/errors.ts";
import { pause } from "../../libs/runtime/backoff.ts";
import { Heartbeat } from "../../libs/runtime/health.ts";
import type { Service } from "../../libs/runtime/lifecycle.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { RecordStore } from "../../libs/streams/records.ts";
import type { Observer } from "./observer.ts";
import type { Reconciler } from "./reconciler.ts";
import type { UnroutedMessages } from "./unrouted-messages.ts";

export interface SweeperOptions {
  readonly records: RecordStore;
  readonly observer: Observer;
  readonly reconciler: Reconciler;
  readonly unrouted: UnroutedMessages;
  readonly enqueue: (uid: string) => void;
  readonly intervalMs: number;
  readonly log: Log;
}

/**
 * Compares the stores with the cluster from time to time and finds what edge-triggered work missed: records that run without a Job (rule J5),
 * Jobs that were not settled (F1, F2), messages that reach nobody. It concludes nothing from a watch that does not follow the cluster.
 */
export class Sweeper implements Service {
  readonly name = "sweeper";
  readonly heartbeat: Heartbeat;
  readonly #options: SweeperOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: SweeperOptions) {
    this.#options = options;
    this.heartbeat = new Heartbeat("sweep", options.intervalMs * 4 + 60_000);
  }

  start(): Promise<void> {
    this.#running ??= this.#run();
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#sweep(signal);
      } catch (error) {
        if (!signal.aborted) this.#options.log.warn("sweep.failed", { problem: errorText(error) });
      }
      this.heartbeat.beat();
      await pause(this.#options.intervalMs, signal);
    }
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    const { observer, records, reconciler, unrouted, enqueue, log } = this.#options;
    await unrouted.sweep(signal);
    const problem = observer.problem();
    if (problem !== undefined) {
      log.warn("sweep.skipped", { problem });
      return;
    }
    // The records first: a Job that appears after they were read is then among those seen.
    const running = await records.inState("running", signal);
    const seen = new Set<string>();
    for (const job of observer.jobs()) {
      seen.add(job.uid);
      if (!reconciler.isDone(job.uid)) enqueue(job.uid);
    }
    for (const hash of running) {
      if (signal.aborted) return;
      const stored = await records.get(hash);
      const job = stored?.record.job;
      if (
        stored?.record.state !== "running" ||
        job === undefined ||
        seen.has(job.uid) ||
        observer.sighting(job.uid) !== undefined
      )
        continue;
      await reconciler.reconcileMissing(stored.record, job).catch((error: unknown) => {
        log.warn("sweep.record-failed", { id: stored.record.id, queue: stored.record.queue, problem: errorText(error) });
      });
    }
  }
}
