import { type NatsConnection, PermissionViolationError } from "@nats-io/transport-node";
import type { Check } from "../runtime/health.ts";

/** A permission that is not asked for again for so long may have been given back: nothing else tells. */
const DENIED_FOR_MS = 300_000;

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
  readonly #onDenied: (what: string) => void;
  readonly #denied = new Map<string, number>();
  #state: "away" | "up" | "closed" = "away";
  #sinceMs: number;
  #why = "";

  /** `onDenied` is told once of each thing that NATS does not permit. */
  constructor(options: { readonly nowMs?: () => number; readonly onDenied?: (what: string) => void } = {}) {
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#onDenied = options.onDenied ?? (() => {});
    this.#sinceMs = this.#nowMs();
  }

  /** What NATS did not permit lately. A renewal or an acknowledgement that it refuses is answered by nothing else. */
  denied(): string[] {
    for (const [what, atMs] of this.#denied) if (this.#nowMs() - atMs > DENIED_FOR_MS) this.#denied.delete(what);
    return [...this.#denied.keys()].map((what) => `NATS does not permit it to ${what}`);
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
    for await (const status of connection.status()) {
      if (this.#state === "closed") return;
      if (status.type === "disconnect") this.#become("away");
      if (status.type === "reconnect") this.#become("up");
      if (status.type === "error" && status.error instanceof PermissionViolationError) this.#deny(status.error);
    }
  }

  /** Subjects have hashes and sequences in them; their beginnings are few. */
  #deny({ operation, subject }: PermissionViolationError): void {
    const start = subject.split(".").slice(0, 2).join(".");
    const what = `${operation === "publish" ? "publish" : "subscribe"} to ${start}.…`;
    if (!this.#denied.has(what)) this.#onDenied(what);
    this.#denied.set(what, this.#nowMs());
  }

  #become(state: "away" | "up" | "closed"): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#sinceMs = this.#nowMs();
    this.#why = "";
  }
}
