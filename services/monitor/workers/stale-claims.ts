import { parseAckSubject } from "../../../libs/contract/source.ts";
import { STREAM } from "../../../libs/contract/streams.ts";
import { parseClaimKey } from "../../../libs/contract/work-claim.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import type { Broker } from "../../../libs/streams/broker.ts";
import type { ClaimStore, StoredClaim } from "../../../libs/streams/claims.ts";
import type { ClaimsWatch } from "./claims-watch.ts";

const WORK_STREAMS: readonly string[] = [STREAM.work, STREAM.workRetry];

/**
 * Claims that outlived their message: a worker that died between its acknowledgement and the removal of its claim, a message that somebody removed,
 * a stream that was made anew. Removed by compare-and-swap, so that a claim that is taken at that moment stays.
 */
export class StaleClaims {
  readonly #claims: Pick<ClaimsWatch, "all" | "isSynced">;
  readonly #store: Pick<ClaimStore, "remove">;
  readonly #broker: Pick<Broker, "bySequence">;
  readonly #ackWaitMs: number;
  readonly #nowMs: () => Promise<number>;
  readonly #log: Log;

  constructor(options: {
    readonly claims: Pick<ClaimsWatch, "all" | "isSynced">;
    readonly store: Pick<ClaimStore, "remove">;
    readonly broker: Pick<Broker, "bySequence">;
    readonly ackWaitMs: number;
    readonly nowMs: () => Promise<number>;
    readonly log: Log;
  }) {
    this.#claims = options.claims;
    this.#store = options.store;
    this.#broker = options.broker;
    this.#ackWaitMs = options.ackWaitMs;
    this.#nowMs = options.nowMs;
    this.#log = options.log;
  }

  async sweep(signal: AbortSignal, beat: () => void): Promise<void> {
    if (!this.#claims.isSynced()) return;
    const nowMs = await this.#nowMs();
    for (const stored of [...this.#claims.all()]) {
      if (signal.aborted) return;
      // One that is renewed has a message, and who holds it removes it.
      if (nowMs - stored.writtenAtMs < this.#ackWaitMs || (await this.#hasMessage(stored))) continue;
      const removed = await this.#store.remove(stored.key, stored.revision);
      if (removed.kind === "won") this.#log.info("claim.removed", { claim: stored.key, worker: stored.claim.worker });
      beat();
    }
  }

  async #hasMessage({ key, claim }: StoredClaim): Promise<boolean> {
    const named = parseClaimKey(key);
    if (named === undefined || !WORK_STREAMS.includes(named.stream)) return false;
    const message = await this.#broker.bySequence(named.stream, named.seq);
    const source = parseAckSubject(claim.ack);
    // Sequences repeat when a stream is made anew.
    return message !== undefined && (source === undefined || source.storedAt === message.storedAt);
  }
}
