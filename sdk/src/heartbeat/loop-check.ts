import type { Check } from "../../../libs/runtime/health.ts";

/** A loop that is blocked by no handler is given so long: to load programs, to compile, to read what is large. */
const IDLE_LIMIT_MS = 60_000;

/**
 * Liveness of the main thread's event loop. A handler that computes holds it up, and may for as long as its time lasts; what outlives that is
 * killed by the lease keeper, and by the kubelet where that did not help.
 */
export class LoopCheck implements Check {
  readonly name = "event loop";
  readonly #blockedMs: () => number;
  readonly #hasTime: () => boolean;

  constructor(options: { readonly blockedMs: () => number; readonly hasTime: () => boolean }) {
    this.#blockedMs = options.blockedMs;
    this.#hasTime = options.hasTime;
  }

  problem(): string | undefined {
    const blockedMs = this.#blockedMs();
    if (blockedMs < IDLE_LIMIT_MS || this.#hasTime()) return undefined;
    return `blocked for ${Math.round(blockedMs / 1000)} s, longer than any handler may take`;
  }

  /**
   * For `/readyz`, which stays well: nobody sends requests to a worker, and Kubernetes takes pods that are not ready first when it scales in,
   * whatever they cost (rule of ReplicaSets): it would be the busy ones.
   */
  notes(): string[] {
    const blockedMs = this.#blockedMs();
    return blockedMs === 0 ? [] : [`busy: event loop blocked for ${Math.round(blockedMs / 1000)} s`];
  }
}
