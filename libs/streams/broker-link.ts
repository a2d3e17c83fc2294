import type { NatsConnection } from "@nats-io/transport-node";

/**
 * Whether NATS is reached, and since when not.
 *
 *   away (from the start, until the first connection) → up → away → up …                → closed, for good
 *
 * Readiness hangs on it. Liveness does not, but for `closed`: a client that is away reconnects by itself, for ever, and a restart would not bring NATS
 * back. It is closed by us, or because the server refused our credentials when we came again: then a process that reads them anew helps.
 */
export class BrokerLink {
  readonly #nowMs: () => number;
  #state: "away" | "up" | "closed" = "away";
  #sinceMs: number;
  #why = "";

  constructor(options: { readonly connection?: NatsConnection; readonly nowMs?: () => number } = {}) {
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#sinceMs = this.#nowMs();
    if (options.connection !== undefined) void this.follow(options.connection);
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

  get isClosed(): boolean {
    return this.#state === "closed";
  }

  /** For how long NATS has been there without a break; 0 while it is not. */
  upForMs(): number {
    return this.isUp ? this.#nowMs() - this.#sinceMs : 0;
  }

  problem(): string | undefined {
    if (this.isUp) return undefined;
    if (this.isClosed) return "the connection is closed";
    return `not connected for ${Math.round((this.#nowMs() - this.#sinceMs) / 1000)} s${this.#why}`;
  }

  async #watch(connection: Pick<NatsConnection, "status">): Promise<void> {
    for await (const { type } of connection.status()) {
      if (this.isClosed) return;
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
