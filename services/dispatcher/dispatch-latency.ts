import type { MessageSource } from "../../libs/contract/source.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";
import type { Broker } from "../../libs/streams/broker.ts";

/** What a measured difference of two clocks may be off by: half a round trip to the broker. */
const EXACTNESS_MS = 10;

/**
 * How long messages wait until they are Jobs. A message says when the broker stored it, by the broker's clock, so ours is set by it (as in rule
 * S6). A retry that slept was stored when it became due.
 */
export class DispatchLatency {
  readonly #broker: Pick<Broker, "clockOffsetMs">;
  readonly #metrics: Metrics;

  constructor(options: { readonly broker: Pick<Broker, "clockOffsetMs">; readonly metrics: Metrics }) {
    this.#broker = options.broker;
    this.#metrics = options.metrics;
  }

  /** Nobody waits for it: a figure must not hold a message up. Without an answer of the broker there is none. */
  async observe(queue: string, { storedAt }: MessageSource, createdAtMs: number): Promise<void> {
    const measuredMs = await this.#broker.clockOffsetMs().catch(() => undefined);
    if (measuredMs === undefined) return;
    const offsetMs = Math.abs(measuredMs) < EXACTNESS_MS ? 0 : measuredMs;
    const latencyMs = createdAtMs + offsetMs - Number(storedAt) / 1e6;
    this.#metrics.dispatchLatency.observe({ queue }, Math.max(0, latencyMs) / 1000);
  }
}
