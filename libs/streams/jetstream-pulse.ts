import { BUCKET, bucketStream, bucketSubject } from "../contract/streams.ts";
import { pause } from "../runtime/backoff.ts";
import type { Service } from "../runtime/lifecycle.ts";
import type { Broker } from "./broker.ts";

const ASK_EVERY_MS = 5_000;
/** Of ack_wait, where that is short: silence that lets a lease run out is heard in time. */
const ASK_SHARE = 1 / 6;
/** No claim has such a key. */
const NOBODYS_KEY = "pulse";

/**
 * For how long JetStream has answered about claims. A connection says nothing of it: servers without a quorum keep theirs, and nobody can renew a lease
 * meanwhile (rule W1).
 *
 *   answering (from the start: it has just been opened) → silent → answering, since its first answer → …
 */
export class JetStreamPulse implements Service {
  readonly name = "jetstream-pulse";
  readonly #broker: Pick<Broker, "last">;
  readonly #everyMs: number;
  readonly #stop = new AbortController();
  #answeringSinceMs: number | undefined = performance.now();
  #running: Promise<void> | undefined;

  constructor(options: { readonly broker: Pick<Broker, "last">; readonly ackWaitMs: number }) {
    this.#broker = options.broker;
    this.#everyMs = Math.min(ASK_EVERY_MS, options.ackWaitMs * ASK_SHARE);
  }

  start(): Promise<void> {
    this.#running ??= this.#run(this.#stop.signal);
    return Promise.resolve();
  }

  /** A question that is open is not waited for. */
  stop(): Promise<void> {
    this.#stop.abort();
    return Promise.resolve();
  }

  /** Something else that JetStream was asked got no answer. */
  silent(): void {
    this.#answeringSinceMs = undefined;
  }

  /** Without a break that was heard; 0 while it does not. */
  answersForMs(): number {
    return this.#answeringSinceMs === undefined ? 0 : performance.now() - this.#answeringSinceMs;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(this.#everyMs, signal);
      if (signal.aborted) return;
      try {
        await this.#broker.last(bucketStream(BUCKET.claims), bucketSubject(BUCKET.claims, NOBODYS_KEY));
        this.#answeringSinceMs ??= performance.now();
      } catch {
        this.silent();
      }
    }
  }
}
