/** Two that are nearer than this wake together. */
const SLOT_MS = 50;
/** Those that are farther off than so many others are forgotten: a worker's slow poll finds them. */
const KEPT = 10_000;
/** Timers hold no more than 24 days, and a clock that was set is noticed by then. */
const LONGEST_TIMER_MS = 600_000;

/** When retries that sleep become due: calls once for each of these times, some milliseconds later. */
export class DueTimes {
  readonly #nowMs: () => number;
  readonly #onDue: () => void;
  /** Ascending, each once. */
  readonly #times: number[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(options: { readonly nowMs: () => number; readonly onDue: () => void }) {
    this.#nowMs = options.nowMs;
    this.#onDue = options.onDue;
  }

  get next(): number | undefined {
    return this.#times[0];
  }

  get size(): number {
    return this.#times.length;
  }

  add(atMs: number): void {
    const slot = Math.ceil(atMs / SLOT_MS) * SLOT_MS;
    const index = this.#indexOf(slot);
    if (this.#times[index] === slot) return;
    this.#times.splice(index, 0, slot);
    if (this.#times.length > KEPT) this.#times.pop();
    if (index === 0) this.#arm();
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#times.length = 0;
  }

  #indexOf(slot: number): number {
    let low = 0;
    let high = this.#times.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#times[middle] ?? 0) < slot) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const [next] = this.#times;
    if (next === undefined) return;
    this.#timer = setTimeout(() => this.#fire(), Math.min(Math.max(0, next - this.#nowMs()), LONGEST_TIMER_MS));
  }

  #fire(): void {
    const due = this.#indexOf(this.#nowMs() + 1);
    this.#times.splice(0, due);
    this.#arm();
    if (due > 0) this.#onDue();
  }
}
