/**
 * How long something that nobody takes has been seen to wait. It counts from when this monitor saw it first, not from when it was stored: a queue
 * that was taken out of the configuration by mistake must not lose at once what had waited in it for long.
 */
export class Patience {
  readonly #afterMs: number;
  readonly #nowMs: () => number;
  readonly #sinceMs = new Map<string, number>();

  constructor(options: { readonly afterMs: number; readonly nowMs?: () => number }) {
    this.#afterMs = options.afterMs;
    this.#nowMs = options.nowMs ?? (() => performance.now());
  }

  isExhausted(what: string): boolean {
    const nowMs = this.#nowMs();
    const sinceMs = this.#sinceMs.get(what) ?? nowMs;
    this.#sinceMs.set(what, sinceMs);
    return nowMs - sinceMs >= this.#afterMs;
  }

  over(what: string): void {
    this.#sinceMs.delete(what);
  }
}
