import { leaseMs, parseClaimKey } from "../../../libs/contract/work-claim.ts";
import type { ClaimsWatch } from "./claims-watch.ts";

/** Which messages somebody works on. While that is not known, all of them. */
export class LiveClaims {
  readonly #claims: Pick<ClaimsWatch, "all" | "isSynced">;
  readonly #ackWaitMs: number;
  readonly #nowMs: () => Promise<number>;

  constructor(options: {
    readonly claims: Pick<ClaimsWatch, "all" | "isSynced">;
    readonly ackWaitMs: number;
    readonly nowMs: () => Promise<number>;
  }) {
    this.#claims = options.claims;
    this.#ackWaitMs = options.ackWaitMs;
    this.#nowMs = options.nowMs;
  }

  isHeld(stream: string, seq: number): Promise<boolean> {
    return this.#some((named) => named.stream === stream && named.seq === seq);
  }

  isConsumerHeld(stream: string, consumer: string): Promise<boolean> {
    return this.#some((named) => named.stream === stream && named.consumer === consumer);
  }

  async #some(matches: (named: NonNullable<ReturnType<typeof parseClaimKey>>) => boolean): Promise<boolean> {
    if (!this.#claims.isSynced()) return true;
    const nowMs = await this.#nowMs();
    for (const { key, claim, writtenAtMs } of this.#claims.all()) {
      if (claim.holder === undefined || nowMs - writtenAtMs >= leaseMs(claim.holder, this.#ackWaitMs)) continue;
      const named = parseClaimKey(key);
      if (named !== undefined && matches(named)) return true;
    }
    return false;
  }
}
