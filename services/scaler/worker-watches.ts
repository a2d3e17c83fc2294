import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { MillraceError } from "../../libs/contract/errors.ts";
import type { Service } from "../../libs/runtime/lifecycle.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";
import { LagReader } from "./lag-reader.ts";
import type { WorkerRef } from "./worker-ref.ts";
import { WorkerWatch } from "./worker-watch.ts";

/** Anybody in the cluster can ask: more workers than any installation has are refused. */
const MOST = 1_000;
/** KEDA asks every half minute at least; nobody does when a ScaledObject is gone, or another scaler has its stream. */
const UNUSED_AFTER_MS = 300_000;

export interface WorkerWatchesOptions {
  readonly connection: NatsConnection;
  readonly away: () => string | undefined;
  readonly pollMs?: number;
  readonly unusedAfterMs?: number;
  readonly metrics: Metrics;
  readonly log: Log;
}

interface Entry {
  readonly watch: WorkerWatch;
  usedAtMs: number;
}

/** One watch for each worker that is asked for, shared by all who ask. It ends when nobody has asked for a while. */
export class WorkerWatches implements Service {
  readonly name = "worker-watches";
  readonly #options: WorkerWatchesOptions;
  readonly #manager: JetStreamManager;
  readonly #reader: LagReader;
  readonly #unusedAfterMs: number;
  readonly #entries = new Map<string, Entry>();
  #cleaning: NodeJS.Timeout | undefined;

  private constructor(options: WorkerWatchesOptions, manager: JetStreamManager, reader: LagReader) {
    this.#options = options;
    this.#manager = manager;
    this.#reader = reader;
    this.#unusedAfterMs = options.unusedAfterMs ?? UNUSED_AFTER_MS;
  }

  static async open(options: WorkerWatchesOptions): Promise<WorkerWatches> {
    const manager = await jetstreamManager(options.connection, { checkAPI: false });
    return new WorkerWatches(options, manager, await LagReader.open(options.connection));
  }

  start(): Promise<void> {
    void this.#followConnection();
    this.#cleaning = setInterval(() => this.#clean(), this.#unusedAfterMs / 2);
    return Promise.resolve();
  }

  stop(): Promise<void> {
    clearInterval(this.#cleaning);
    for (const { watch } of this.#entries.values()) watch.close();
    this.#entries.clear();
    return Promise.resolve();
  }

  /** @throws MillraceError `TOO_MANY_WORKERS` */
  of({ worker, subject }: WorkerRef): WorkerWatch {
    const key = `${worker} ${subject}`;
    const known = this.#entries.get(key);
    if (known !== undefined) {
      known.usedAtMs = performance.now();
      return known.watch;
    }
    if (this.#entries.size >= MOST) {
      throw new MillraceError("TOO_MANY_WORKERS", `${MOST} workers are watched already; look who asks this scaler for them`);
    }
    const { connection, away, pollMs, metrics, log } = this.#options;
    const watch = new WorkerWatch({
      worker,
      subject,
      connection,
      manager: this.#manager,
      reader: this.#reader,
      away,
      ...(pollMs === undefined ? {} : { pollMs }),
      metrics,
      log,
    });
    this.#entries.set(key, { watch, usedAtMs: performance.now() });
    return watch;
  }

  /** One sentence for each worker whose last value is held. */
  holding(): string[] {
    return [...this.#entries.values()].flatMap(({ watch }) => {
      const reading = watch.reading();
      if (reading.kind !== "known" || reading.held === undefined) return [];
      const { problem, forMs } = reading.held;
      return [`worker ${watch.worker}: a lag of ${reading.lag} is held for ${Math.round(forMs / 1000)} s: ${problem}`];
    });
  }

  measure(): void {
    for (const { watch } of this.#entries.values()) watch.measure();
  }

  get size(): number {
    return this.#entries.size;
  }

  #clean(): void {
    const nowMs = performance.now();
    for (const [key, entry] of this.#entries) {
      if (entry.watch.listeners > 0) entry.usedAtMs = nowMs;
      if (nowMs - entry.usedAtMs < this.#unusedAfterMs) continue;
      entry.watch.close();
      this.#entries.delete(key);
    }
  }

  async #followConnection(): Promise<void> {
    for await (const { type } of this.#options.connection.status()) {
      for (const { watch } of this.#entries.values()) {
        if (type === "disconnect") watch.disconnected();
        if (type === "reconnect") watch.reconnected();
      }
    }
  }
}
