import type { JetStreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { errorText, isMillraceError } from "../../libs/contract/errors.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";
import type { Lag, LagReader } from "./lag-reader.ts";
import { type Cause, WakeUps } from "./wake-ups.ts";

/** Finds what no hint told. */
const POLL_MS = 5_000;
/** While the broker is in trouble. */
const RETRY_MS = 1_000;
/** KEDA drops an activation that comes before it knows the metric or while the API server fails, and counts the cooldown from the last one. */
const REPEAT_MS = 10_000;
/** A hint may come before its message is stored: for so long it is looked for, ever more slowly. */
const CHASE_MS = 1_000;
const CHASE_PAUSE_MS = { first: 10, longest: 250 } as const;

export interface WorkerWatchOptions {
  readonly worker: string;
  readonly subject: string;
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  readonly reader: Pick<LagReader, "read">;
  /** Undefined while NATS is there. */
  readonly away: () => string | undefined;
  readonly pollMs?: number;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** What is known of a worker's backlog. */
export type Reading =
  | {
      readonly kind: "known";
      readonly lag: number;
      readonly isActive: boolean;
      /** Why it is an old one, and since when nothing newer is known. */
      readonly held?: { readonly problem: string; readonly forMs: number };
    }
  /** NATS has no such worker. */
  | { readonly kind: "missing"; readonly problem: string }
  /** Nothing is known yet, because the broker does not answer. */
  | { readonly kind: "unavailable"; readonly problem: string };

type Why = Cause | "began" | "asked" | "polled" | "reconnected";

/**
 * Whether one worker has work, as its consumers confirm; every look is at them, hints and clocks only say when.
 *
 *   idle (hints awaited, a slow poll) → (lag) active (a slow poll, no hints) → (no lag, and nothing delivered for one poll) idle
 *
 * A look that fails changes nothing: what was confirmed last is held until the next one succeeds, and is never taken for 0.
 */
export class WorkerWatch {
  readonly worker: string;
  readonly subject: string;
  readonly #options: WorkerWatchOptions;
  readonly #pollMs: number;
  readonly #wakes: WakeUps;
  readonly #listeners = new Set<(isActive: boolean) => void>();
  #confirmed: Lag | undefined;
  #isActive = false;
  #deliveredAtMs = Number.NEGATIVE_INFINITY;
  #trouble: { readonly problem: string; readonly isMissing: boolean; readonly sinceMs: number } | undefined;
  #pushed: { readonly isActive: boolean; readonly atMs: number } | undefined;
  #chase: { readonly cause: Cause; readonly untilMs: number; readonly pauseMs: number } | undefined;
  #looking: Promise<void> | undefined;
  #following: Promise<void> | undefined;
  #next: { readonly timer: NodeJS.Timeout; readonly atMs: number } | undefined;
  #hasReadSleeping = false;
  #closed = false;

  constructor(options: WorkerWatchOptions) {
    this.worker = options.worker;
    this.subject = options.subject;
    this.#options = options;
    this.#pollMs = options.pollMs ?? POLL_MS;
    const { connection, manager, worker, subject } = options;
    this.#wakes = new WakeUps({
      connection,
      manager,
      worker,
      subject,
      serverNowMs: () => Date.now() + (this.#confirmed?.clockOffsetMs ?? 0),
      onWake: (cause) => this.#wake(cause),
    });
    this.#wakes.arm();
    this.#lookIn(0, "began");
  }

  /** What the consumers say now, or what is held. */
  async ask(): Promise<Reading> {
    await this.#look("asked");
    return this.reading();
  }

  reading(): Reading {
    const held = this.#trouble;
    if (held?.isMissing === true) return { kind: "missing", problem: held.problem };
    if (this.#confirmed === undefined) return { kind: "unavailable", problem: held?.problem ?? "NATS has not answered yet" };
    const known = { kind: "known", lag: this.#confirmed.count, isActive: this.#isActive } as const;
    if (held === undefined) return known;
    return { ...known, held: { problem: held.problem, forMs: performance.now() - held.sinceMs } };
  }

  /** Tells what is known, at once and whenever it changes; what is returned ends that. */
  subscribe(listener: (isActive: boolean) => void): () => void {
    this.#listeners.add(listener);
    const known = this.reading();
    if (known.kind === "known") this.#tell(listener, known.isActive);
    return () => void this.#listeners.delete(listener);
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  /** From now on what is known is held, and said to be. */
  disconnected(): void {
    this.#lookIn(0, "polled");
  }

  /** Hints were missed while NATS was away. */
  reconnected(): void {
    this.#hasReadSleeping = false;
    this.#wakes.renew();
    this.#lookIn(0, "reconnected");
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#next?.timer);
    this.#wakes.close();
    this.#listeners.clear();
    this.#forgetValue();
    this.#options.metrics.scalerHolding.remove({ worker: this.worker });
  }

  /** Before a scrape. */
  measure(): void {
    if (this.#closed) return;
    const { scalerLag, scalerActive, scalerHolding } = this.#options.metrics;
    const heldMs = this.#trouble === undefined ? 0 : performance.now() - this.#trouble.sinceMs;
    scalerHolding.set({ worker: this.worker }, heldMs / 1000);
    if (this.#confirmed === undefined) return;
    scalerLag.set({ worker: this.worker }, this.#confirmed.count);
    scalerActive.set({ worker: this.worker }, this.#isActive ? 1 : 0);
  }

  #forgetValue(): void {
    const { scalerLag, scalerActive } = this.#options.metrics;
    for (const gauge of [scalerLag, scalerActive]) gauge.remove({ worker: this.worker });
    this.#confirmed = undefined;
    this.#isActive = false;
  }

  #wake(cause: Cause): void {
    if (this.#isActive || this.#closed) return;
    const untilMs = performance.now() + CHASE_MS;
    if (this.#chase === undefined) {
      this.#chase = { cause, untilMs, pauseMs: CHASE_PAUSE_MS.first };
      this.#lookIn(0, cause);
    } else {
      // A look is planned already, at most a quarter of a second away.
      this.#chase = { ...this.#chase, untilMs };
    }
  }

  /** Keeps the earlier of the looks that are planned. */
  #lookIn(delayMs: number, why: Why): void {
    if (this.#closed) return;
    const atMs = performance.now() + delayMs;
    if (this.#next !== undefined && this.#next.atMs <= atMs) return;
    clearTimeout(this.#next?.timer);
    const timer = setTimeout(() => {
      this.#next = undefined;
      void this.#look(why);
    }, delayMs);
    this.#next = { timer, atMs };
  }

  /** One at a time. One that is under way may have been answered before this was called: another follows, for all who ask meanwhile. */
  #look(why: Why): Promise<void> {
    if (this.#looking === undefined) {
      this.#looking = this.#confirm(why).finally(() => {
        this.#looking = undefined;
      });
      return this.#looking;
    }
    this.#following ??= this.#looking.then(() => {
      this.#following = undefined;
      return this.#look(why);
    });
    return this.#following;
  }

  async #confirm(why: Why): Promise<void> {
    const { reader, away, metrics } = this.#options;
    try {
      const problem = away();
      if (problem !== undefined) throw new Error(problem);
      const lag = await reader.read(this.worker);
      if (this.#closed) return;
      metrics.scalerLooks.inc({ outcome: "confirmed" });
      this.#settle(lag, why);
    } catch (error) {
      if (this.#closed) return;
      metrics.scalerLooks.inc({ outcome: "failed" });
      this.#hold(error);
    }
  }

  #settle(lag: Lag, why: Why): void {
    const nowMs = performance.now();
    if (this.#trouble !== undefined) {
      this.#options.log.info("worker.confirmed", {
        worker: this.worker,
        lag: lag.count,
        afterMs: Math.round(nowMs - this.#trouble.sinceMs),
      });
    }
    this.#trouble = undefined;
    // What came and was done between two looks was work, too: without this a steady trickle would look like none.
    if (this.#confirmed !== undefined && lag.deliveries > this.#confirmed.deliveries) this.#deliveredAtMs = nowMs;
    const wasActive = this.#isActive;
    this.#confirmed = lag;
    this.#isActive = lag.count > 0 || nowMs - this.#deliveredAtMs < this.#pollMs;
    if (this.#isActive !== wasActive) this.#changed(lag.count, why);
    this.#push(nowMs);
    this.#planNext(nowMs);
    if (!this.#hasReadSleeping) this.#readSleeping();
  }

  #changed(lag: number, cause: Why): void {
    const { metrics, log } = this.#options;
    if (!this.#isActive) {
      log.info("worker.idle", { worker: this.worker });
      return;
    }
    metrics.scalerActivations.inc({ worker: this.worker, cause });
    log.info("worker.active", { worker: this.worker, lag, cause, streams: this.#listeners.size });
  }

  #push(nowMs: number): void {
    const last = this.#pushed;
    const isNews = last === undefined || last.isActive !== this.#isActive;
    if (!isNews && !(this.#isActive && nowMs - last.atMs >= REPEAT_MS)) return;
    this.#pushed = { isActive: this.#isActive, atMs: nowMs };
    for (const listener of this.#listeners) this.#tell(listener, this.#isActive);
  }

  #tell(listener: (isActive: boolean) => void, isActive: boolean): void {
    this.#options.metrics.scalerPushes.inc({ worker: this.worker, active: String(isActive) });
    listener(isActive);
  }

  #planNext(nowMs: number): void {
    if (this.#isActive || (this.#chase?.untilMs ?? nowMs) <= nowMs) this.#chase = undefined;
    if (this.#isActive) {
      this.#wakes.disarm();
      this.#lookIn(this.#pollMs, "polled");
      return;
    }
    const { isArmed } = this.#wakes;
    this.#wakes.arm();
    if (this.#chase !== undefined) {
      const { cause, pauseMs } = this.#chase;
      this.#chase = { ...this.#chase, pauseMs: Math.min(pauseMs * 2, CHASE_PAUSE_MS.longest) };
      this.#lookIn(pauseMs, cause);
    } else {
      // What came before it was armed is found at once.
      this.#lookIn(isArmed ? this.#pollMs : 0, "polled");
    }
  }

  #hold(error: unknown): void {
    const isMissing = isMillraceError(error) && error.code === "WORKER_UNKNOWN";
    const problem = errorText(error);
    const known = this.#trouble;
    if (known?.isMissing !== isMissing) {
      const event = isMissing ? "worker.unknown" : "worker.holding";
      this.#options.log.warn(event, { worker: this.worker, lag: this.#confirmed?.count, problem });
    }
    this.#trouble = { problem, isMissing, sinceMs: known?.sinceMs ?? performance.now() };
    if (isMissing) {
      // Nobody's value any more, to be held when the broker goes, too. Who subscribes meanwhile is told nothing; once it is there again, that is news to all.
      this.#forgetValue();
      this.#pushed = undefined;
    }
    this.#lookIn(isMissing ? this.#pollMs : RETRY_MS, "polled");
  }

  /** After a look, which tells the server's clock; what it misses the poll finds. */
  #readSleeping(): void {
    this.#hasReadSleeping = true;
    this.#wakes.readSleeping().catch((error: unknown) => {
      this.#hasReadSleeping = false;
      this.#options.log.debug("worker.sleeping-unread", { worker: this.worker, problem: errorText(error) });
    });
  }
}
