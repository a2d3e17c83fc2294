import type { JetStreamClient } from "@nats-io/jetstream";
import type { Log } from "../../libs/runtime/log.ts";
import type { PulledWork } from "../../libs/streams/work-pull.ts";
import type { WorkStore } from "../../libs/streams/work-store.ts";
import { Ends } from "./ends.ts";
import type { HeartbeatPort } from "./heartbeat-port.ts";
import { HeldMessage, type HeldMessageOptions } from "./held-message.ts";
import type { WorkerMetrics } from "./metrics.ts";
import { keyOf, type Receiver } from "./reception.ts";
import { Telling } from "./telling.ts";
import type { Worker } from "./worker.ts";

export interface HeldMessagesOptions {
  readonly name: string;
  readonly worker: Worker;
  readonly timeoutMs: number;
  readonly ackWaitMs: number;
  readonly store: WorkStore;
  readonly isConnected: () => boolean;
  readonly receiver: Receiver;
  readonly heartbeats: Pick<HeartbeatPort, "hold" | "handlerEnded" | "release">;
  readonly client: JetStreamClient;
  readonly metrics: WorkerMetrics;
  readonly log: Log;
}

/** The messages that this process has, each with a lease of its own from its handler's begin until nothing of it is left to tell (K6). */
export class HeldMessages {
  readonly #options: HeldMessagesOptions;
  readonly #each: HeldMessageOptions;
  readonly #held = new Map<string, HeldMessage>();
  readonly #givenUp = new AbortController();
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: HeldMessagesOptions) {
    this.#options = options;
    const givenUp = this.#givenUp.signal;
    this.#each = { ...options, givenUp, ends: new Ends(options), telling: new Telling({ ...options, givenUp }) };
  }

  /** One delivery, from its claim to its end. Never throws. */
  async work(message: PulledWork): Promise<void> {
    const { metrics, log } = this.#options;
    const key = keyOf(message);
    if (message.delivery > 1) metrics.redelivered();
    if (this.#held.has(key)) {
      log.debug("message.left", { key, why: "this process holds it" });
      return;
    }
    const held = new HeldMessage(message, this.#each);
    this.#held.set(key, held);
    metrics.inFlight(this.#held.size);
    try {
      await held.work();
    } catch (error) {
      log.error("message.failed", { key, error });
    } finally {
      this.#held.delete(key);
      metrics.inFlight(this.#held.size);
      if (this.#held.size === 0) this.#idle?.resolve();
    }
  }

  /** The claim is somebody else's. */
  lost(key: string): void {
    this.#held.get(key)?.lost();
  }

  holds(message: PulledWork): boolean {
    return this.#held.has(keyOf(message));
  }

  get size(): number {
    return this.#held.size;
  }

  /** Resolves when nothing is held. */
  idle(): Promise<void> {
    if (this.#held.size === 0) return Promise.resolve();
    this.#idle ??= Promise.withResolvers();
    return this.#idle.promise;
  }

  /** Tells every handler to stop. */
  shutDown(): void {
    for (const held of this.#held.values()) held.shutDown();
  }

  /** Gives back what still runs, without counting it. The process must end then: its handlers are not stopped by it. */
  async handBackAll(): Promise<void> {
    this.#givenUp.abort();
    await Promise.all([...this.#held.values()].map((held) => held.handBack()));
  }
}
