const EVERY_MS = 100;
/** Below it is what every event loop does all the time. */
const NOTABLE_MS = 100;

/** Measures for how long the event loop stands still. */
export class LoopLag {
  readonly #onBlocked: (ms: number) => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: { readonly onBlocked: (ms: number) => void }) {
    this.#onBlocked = options.onBlocked;
  }

  start(): void {
    let expectedMs = performance.now() + EVERY_MS;
    this.#timer ??= setInterval(() => {
      const nowMs = performance.now();
      if (nowMs - expectedMs > NOTABLE_MS) this.#onBlocked(nowMs - expectedMs);
      expectedMs = nowMs + EVERY_MS;
    }, EVERY_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
