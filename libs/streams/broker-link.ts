import type { NatsConnection } from "@nats-io/transport-node";
import type { Check } from "../runtime/health.ts";

/**
 * Whether NATS is reached, and since when not.
 *
 *   away (from the start, until the first connection) → up → away → up …                → closed, for good
 *
 * A client that is away reconnects by itself, for ever, and a restart would not bring NATS back. It is closed by us, or because the server refused
 * our credentials when it came again: then a process that reads them anew helps.
 */
export class BrokerLink {
  /** Liveness. */
  readonly open: Check = {
    name: "broker",
    problem: () => (this.#state === "closed" ? "the connection is closed" : undefined),
  };
  /** Readiness. */
  readonly reached: Check = {
    name: "broker",
    problem: () => (this.#state === "away" ? `not connected for ${Math.round(this.#lastsMs() / 1000)} s${this.#why}` : undefined),
  };
  readonly #nowMs: () => number;
  #state: "away" | "up" | "closed" = "away";
  #sinceMs: number;
  #why = "";

  constructor(options: { readonly nowMs?: () => number } = {}) {
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#sinceMs = this.#nowMs();
  }

  /** A try to connect for the first time failed. */
  failed(problem: string): void {
    this.#why = `: ${problem}`;
  }

  /** Resolves when the connection is closed. */
  async follow(connection: Pick<NatsConnection, "status" | "closed">): Promise<void> {
    this.#become("up");
    const watching = this.#watch(connection);
    await connection.closed();
    this.#become("closed");
    await watching;
  }

  get isUp(): boolean {
    return this.#state === "up";
  }

  /** For how long NATS has been there without a break; 0 while it is not. */
  upForMs(): number {
    return this.isUp ? this.#lastsMs() : 0;
  }

  #lastsMs(): number {
    return this.#nowMs() - this.#sinceMs;
  }

  async #watch(connection: Pick<NatsConnection, "status">): Promise<void> {
    for await (const { type } of connection.status()) {
      if (this.#state === "closed") return;
      if (type === "disconnect") this.#become("away");
      if (type === "reconnect") this.#become("up");
    }
  }

  #become(state: "away" | "up" | "closed"): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#sinceMs = this.#nowMs();
    this.#why = "";
  }
}
