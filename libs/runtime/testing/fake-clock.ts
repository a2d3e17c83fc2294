import type { Clock } from "../clock.ts";

/** Time that moves when the test says so. What is due is called in the order of its time, then of its asking. */
export class FakeClock implements Clock {
  readonly #timers = new Set<{ readonly atMs: number; readonly call: () => void }>();
  #nowMs = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, call: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), call };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    for (;;) {
      const [next] = [...this.#timers].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#nowMs = next.atMs;
      next.call();
    }
    this.#nowMs = endMs;
  }

  /** Timers that were asked for and are neither called nor taken back. */
  get pending(): number {
    return this.#timers.size;
  }
}
