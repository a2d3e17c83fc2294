/** Time as a dependency of whatever decides by it. Monotonic: a step of the wall clock moves nothing. */
export interface Clock {
  nowMs(): number;
  /** Calls once, after the delay; what is returned takes it back. */
  after(delayMs: number, call: () => void): () => void;
}

export const MONOTONIC_CLOCK: Clock = {
  nowMs: () => performance.now(),
  after(delayMs, call) {
    const timer = setTimeout(call, delayMs);
    return () => clearTimeout(timer);
  },
};
