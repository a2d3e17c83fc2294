/** Shorter pauses of an event loop are not worth a word: a collection of garbage, a large JSON text. */
const NOTABLE_MS = 1_000;
/** A thread that was not run itself for longer cannot say what the other one did meanwhile. */
const LONGEST_STEP_MS = 2_000;
const BEAT_EVERY_MS = 250;

/** The main thread's side: beats as often as its event loop turns. */
export class LoopPulse {
  readonly memory = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  readonly #beats = new Int32Array(this.memory);
  #timer: NodeJS.Timeout | undefined;

  start(): void {
    this.#timer ??= setInterval(() => void Atomics.add(this.#beats, 0, 1), BEAT_EVERY_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** The other side: for how long there has been no beat, of the time that this thread has watched. */
export class LoopWatch {
  readonly #beats: Int32Array;
  #seen = 0;
  #lookedAtMs: number;
  #silentMs = 0;

  constructor(options: { readonly memory: SharedArrayBuffer; readonly nowMs: number }) {
    this.#beats = new Int32Array(options.memory);
    this.#lookedAtMs = options.nowMs;
  }

  look(nowMs: number): void {
    const beats = Atomics.load(this.#beats, 0);
    const stepMs = Math.min(nowMs - this.#lookedAtMs, LONGEST_STEP_MS);
    this.#silentMs = beats === this.#seen ? this.#silentMs + stepMs : 0;
    this.#seen = beats;
    this.#lookedAtMs = nowMs;
  }

  /** 0 while the loop turns. */
  get blockedMs(): number {
    return this.#silentMs > NOTABLE_MS ? this.#silentMs : 0;
  }
}
