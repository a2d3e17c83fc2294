import type { Clock } from "../../libs/runtime/clock.ts";

/** How a POST ended, as far as the gate cares. `overload`: 429, 5xx, no answer. `refused`: any other answer; it says nothing about load. */
export type PostOutcome = "ok" | "overload" | "refused";

/** Gives the turn back. Whoever got a turn must call it, once. */
export type Release = (outcome: PostOutcome, retryAfterMs?: number) => void;

/** Somebody who waits; called with the turn. */
type Waiter = (release: Release) => void;

/** One queue's callers, in the order of their coming. */
interface Lane {
  weight: number;
  /** Stride scheduling: the virtual time of the lane's next turn. Each turn costs 1/weight. */
  pass: number;
  readonly retries: Set<Waiter>;
  readonly fresh: Set<Waiter>;
}

const LONGEST_PAUSE_MS = 30_000;

/**
 * How many POSTs to the API server are under way at once, and whose is next.
 *
 *   waiting → posting → (released)          waiting → (aborted)
 *
 * The limit grows by 1 for as many successes as the limit is, seen while the gate is full, and halves on a sign of overload (AIMD). Whatever
 * began before a halving says nothing about the limit after it: its success adds nothing, its failure halves nothing. So one burst that fails
 * halves once. `Retry-After` lets nobody begin for that long.
 *
 * Turns go to the queues in proportion to their weights; in a queue to retries before fresh messages, and else in order of coming. An idle
 * queue saves nothing up: it comes back at the virtual time of the others.
 */
export class PostGate {
  readonly #clock: Clock;
  readonly #minLimit: number;
  readonly #maxLimit: number;
  readonly #lanes = new Map<string, Lane>();
  #limit: number;
  #inFlight = 0;
  #waiting = 0;
  #successes = 0;
  /** Counts the halvings; a turn remembers in which age it began. */
  #age = 0;
  #virtualTime = 0;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  #lastTurnAtMs = Number.NEGATIVE_INFINITY;
  #cancelWake: (() => void) | undefined;

  constructor(options: {
    readonly clock: Clock;
    readonly initialLimit?: number;
    readonly minLimit?: number;
    readonly maxLimit?: number;
  }) {
    this.#clock = options.clock;
    this.#minLimit = options.minLimit ?? 1;
    this.#maxLimit = options.maxLimit ?? 64;
    this.#limit = Math.min(this.#maxLimit, Math.max(this.#minLimit, options.initialLimit ?? 16));
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get limit(): number {
    return this.#limit;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** How long ago a turn was given back. While turns come back, whoever waits for one waits for its place in the line, however long that takes. */
  get sinceTurnMs(): number {
    return this.#clock.nowMs() - this.#lastTurnAtMs;
  }

  /** Resolves with the turn; undefined when the signal aborts before. */
  enter(options: {
    readonly queue: string;
    readonly weight: number;
    readonly retry: boolean;
    readonly signal: AbortSignal;
  }): Promise<Release | undefined> {
    const { queue, retry, signal } = options;
    if (signal.aborted) return Promise.resolve(undefined);
    const lane = this.#lane(queue, options.weight);
    const line = retry ? lane.retries : lane.fresh;
    const { promise, resolve } = Promise.withResolvers<Release | undefined>();
    const abort = (): void => {
      line.delete(waiter);
      this.#waiting -= 1;
      resolve(undefined);
      this.#serve();
    };
    const waiter: Waiter = (release) => {
      signal.removeEventListener("abort", abort);
      line.delete(waiter);
      this.#waiting -= 1;
      resolve(release);
    };
    signal.addEventListener("abort", abort, { once: true });
    line.add(waiter);
    this.#waiting += 1;
    this.#serve();
    return promise;
  }

  #lane(queue: string, weight: number): Lane {
    const known = this.#lanes.get(queue);
    const lane = known ?? { weight: 1, pass: this.#virtualTime, retries: new Set<Waiter>(), fresh: new Set<Waiter>() };
    lane.weight = Math.max(1, weight);
    this.#lanes.set(queue, lane);
    return lane;
  }

  #serve(): void {
    const pauseMs = this.#pausedUntilMs - this.#clock.nowMs();
    while (pauseMs <= 0 && this.#inFlight < this.#limit) {
      const waiter = this.#next();
      if (waiter === undefined) break;
      this.#inFlight += 1;
      waiter(this.#turn());
    }
    this.#forgetIdleLanes();
    this.#cancelWake?.();
    this.#cancelWake = pauseMs > 0 && this.#waiting > 0 ? this.#clock.after(pauseMs, () => this.#serve()) : undefined;
  }

  #next(): Waiter | undefined {
    let first: Lane | undefined;
    for (const lane of this.#lanes.values()) {
      if (!isIdle(lane) && (first === undefined || lane.pass < first.pass)) first = lane;
    }
    if (first === undefined) return undefined;
    this.#virtualTime = first.pass;
    first.pass += 1 / first.weight;
    const [waiter] = first.retries.size > 0 ? first.retries : first.fresh;
    return waiter;
  }

  /** An idle lane is remembered for as long as it is ahead of the others, so that nobody gains by leaving and coming back. */
  #forgetIdleLanes(): void {
    for (const [queue, lane] of this.#lanes) {
      if (isIdle(lane) && lane.pass <= this.#virtualTime) this.#lanes.delete(queue);
    }
  }

  #turn(): Release {
    const age = this.#age;
    let over = false;
    return (outcome, retryAfterMs = 0) => {
      if (over) return;
      over = true;
      if (age === this.#age) this.#learn(outcome);
      this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.#clock.nowMs() + Math.min(retryAfterMs, LONGEST_PAUSE_MS));
      this.#inFlight -= 1;
      this.#lastTurnAtMs = this.#clock.nowMs();
      this.#serve();
    };
  }

  #learn(outcome: PostOutcome): void {
    if (outcome === "overload") {
      this.#age += 1;
      this.#successes = 0;
      this.#limit = Math.max(this.#minLimit, Math.floor(this.#limit / 2));
    } else if (outcome === "ok" && this.#inFlight >= this.#limit) {
      this.#successes += 1;
      if (this.#successes < this.#limit) return;
      this.#successes = 0;
      this.#limit = Math.min(this.#maxLimit, this.#limit + 1);
    }
  }
}

function isIdle(lane: Lane): boolean {
  return lane.retries.size === 0 && lane.fresh.size === 0;
}
