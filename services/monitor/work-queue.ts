import { errorText } from "../../libs/contract/errors.ts";
import { Backoff } from "../../libs/runtime/backoff.ts";
import type { WorkUnderWay } from "../../libs/runtime/health.ts";
import type { Service } from "../../libs/runtime/lifecycle.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";

/**
 * Keys to be looked at, each by one worker at a time. A key that is added while it is worked on is worked on once more afterwards, so the
 * worker may always act on the newest state and no change is missed. A failed key comes back after a backoff of its own, one whose worker says
 * so after as many milliseconds, whatever comes first.
 *
 *   closed → open (keys are taken) → closed (what runs is waited for, what waits is forgotten) → open …
 *
 * Semantics of client-go's workqueue.
 */
export class WorkQueue implements Service {
  readonly name = "work-queue";
  readonly #handle: (key: string) => Promise<number | undefined>;
  readonly #concurrency: number;
  readonly #about: (key: string) => Readonly<Record<string, unknown>>;
  readonly #underWay: Pick<WorkUnderWay, "begin">;
  readonly #metrics: Pick<Metrics, "reconcileFailures">;
  readonly #log: Log;
  readonly #waiting = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #again = new Set<string>();
  readonly #failures = new Map<string, Backoff>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #open = false;

  constructor(options: {
    readonly handle: (key: string) => Promise<number | undefined>;
    readonly concurrency: number;
    /** Fields that say in the log what a key stands for. */
    readonly about?: (key: string) => Readonly<Record<string, unknown>>;
    readonly underWay: Pick<WorkUnderWay, "begin">;
    readonly metrics: Pick<Metrics, "reconcileFailures">;
    readonly log: Log;
  }) {
    this.#handle = options.handle;
    this.#concurrency = options.concurrency;
    this.#about = options.about ?? ((key) => ({ key }));
    this.#underWay = options.underWay;
    this.#metrics = options.metrics;
    this.#log = options.log;
  }

  start(): Promise<void> {
    this.#open = true;
    this.#fill();
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#open = false;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#waiting.clear();
    this.#again.clear();
    await Promise.all(this.#running.values());
  }

  /** Nothing is remembered while the queue is closed: whoever opens it has every key looked at anew, by a sweep. */
  add(key: string): void {
    if (!this.#open) return;
    if (this.#running.has(key)) this.#again.add(key);
    else this.#waiting.add(key);
    this.#fill();
  }

  #fill(): void {
    for (const key of this.#waiting) {
      if (this.#running.size >= this.#concurrency) return;
      this.#waiting.delete(key);
      // The work begins in a later turn: a handler that adds its own key must already be seen as running.
      this.#running.set(
        key,
        Promise.resolve().then(() => this.#work(key)),
      );
    }
  }

  async #work(key: string): Promise<void> {
    const end = this.#underWay.begin();
    try {
      const againInMs = await this.#handle(key);
      this.#failures.delete(key);
      if (againInMs !== undefined) this.#addAfter(key, againInMs);
    } catch (error) {
      this.#metrics.reconcileFailures.inc();
      this.#log.warn("reconcile.failed", { ...this.#about(key), problem: errorText(error), error });
      const backoff = this.#failures.get(key) ?? new Backoff({ initialMs: 250, maxMs: 30_000 });
      this.#failures.set(key, backoff);
      this.#addAfter(key, backoff.nextMs());
    }
    end();
    this.#running.delete(key);
    if (this.#again.delete(key)) this.#waiting.add(key);
    this.#fill();
  }

  #addAfter(key: string, delayMs: number): void {
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
    if (!this.#open) return;
    const wake = (): void => {
      this.#timers.delete(key);
      this.add(key);
    };
    this.#timers.set(key, setTimeout(wake, Math.min(delayMs, LONGEST_TIMER_MS)));
  }
}

/** `setTimeout` takes 2^31 - 1 at most. */
const LONGEST_TIMER_MS = 24 * 3_600_000;
