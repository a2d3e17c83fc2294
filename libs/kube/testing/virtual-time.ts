import { setImmediate } from "node:timers/promises";

interface Timer {
  readonly atMs: number;
  readonly wake: () => void;
}

/** A clock that stands still until the test moves it: whatever waits is woken in its order, and has come to rest before the clock goes on. */
export class VirtualTime {
  nowMs = 0;
  readonly #timers = new Set<Timer>();
  /** Called at each moment at which something happened. */
  readonly #onMoment: () => void;

  constructor(onMoment: () => void = () => {}) {
    this.#onMoment = onMoment;
  }

  /** As `pause`. */
  readonly wait = async (delayMs: number, signal: AbortSignal): Promise<void> => {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => resolve();
    const timer = { atMs: this.nowMs + delayMs, wake };
    this.#timers.add(timer);
    signal.addEventListener("abort", wake, { once: true });
    await promise;
    signal.removeEventListener("abort", wake);
    this.#timers.delete(timer);
  };

  async pass(durationMs: number): Promise<void> {
    const endMs = this.nowMs + durationMs;
    await setImmediate();
    for (let next = this.#next(); next !== undefined && next.atMs <= endMs; next = this.#next()) {
      this.nowMs = Math.max(this.nowMs, next.atMs);
      this.#timers.delete(next);
      next.wake();
      await setImmediate();
      this.#onMoment();
    }
    this.nowMs = endMs;
    this.#onMoment();
  }

  #next(): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) if (first === undefined || timer.atMs < first.atMs) first = timer;
    return first;
  }
}
