import { MillraceError } from "../../../libs/contract/errors.ts";
import type { WorkClaim } from "../../../libs/contract/work-claim.ts";
import type { ClaimStore } from "../../../libs/streams/claims.ts";
import type { Lease } from "./thread-messages.ts";

/** What a lease is kept with; none while NATS was not reached yet. */
export interface LeaseBroker {
  readonly claims: Pick<ClaimStore, "get" | "swap">;
  /** Fire and forget. */
  renew(replySubject: string): void;
}

/** `unknown`: no answer came; what was written may yet arrive. */
export type LeaseWrite = "written" | "lost" | "unknown";

/** Late answers of our own writes stand between a claim and its next one; there is seldom more than one. */
const SWAP_TRIES = 3;

/**
 * One held message. Renewing it writes its claim again, by compare-and-swap, and tells the consumer `+WPI`.
 *
 *   held ──(a write of somebody else)──► lost          held, lost ──(released)──► gone
 *
 * Only this process writes claims that name it and this delivery, so what stands there and does is a write of ours whose answer was lost.
 */
export class HeldLease {
  readonly key: string;
  readonly #ack: string;
  readonly #claim: WorkClaim;
  readonly #broker: () => LeaseBroker | undefined;
  readonly #answerMs: number;
  #revision: number;
  #isLost = false;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: {
    readonly lease: Lease;
    readonly broker: () => LeaseBroker | undefined;
    /** How long a write is waited for. */
    readonly answerMs: number;
  }) {
    const { lease } = options;
    this.key = lease.key;
    this.#ack = lease.ack;
    this.#claim = lease.claim;
    this.#revision = lease.revision;
    this.#broker = options.broker;
    this.#answerMs = options.answerMs;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** The claim is written first: a `+WPI` of one who lost it would keep the message from its next delivery. */
  renew(): Promise<LeaseWrite> {
    return this.#inTurn(async () => {
      const broker = this.#broker();
      if (broker === undefined) return "unknown";
      const outcome = await this.#write(broker, this.#claim);
      if (outcome !== "lost") broker.renew(this.#ack);
      return outcome;
    });
  }

  /** For whoever hands the message back: its handler outlived its time. */
  markOverrun(): Promise<LeaseWrite> {
    return this.#inTurn(async () => {
      const broker = this.#broker();
      return broker === undefined ? "unknown" : this.#write(broker, { ...this.#claim, overran: true });
    });
  }

  /** When no write is under way any more: the revision of the last one that is known of. Undefined: the claim is lost. */
  settled(): Promise<number | undefined> {
    return this.#inTurn(() => Promise.resolve(this.#isLost ? undefined : this.#revision));
  }

  #inTurn<T>(write: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(write);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async #write({ claims }: LeaseBroker, claim: WorkClaim): Promise<LeaseWrite> {
    try {
      for (let tries = 0; tries < SWAP_TRIES && !this.#isLost; tries += 1) {
        const swapped = await this.#answered(claims.swap(this.key, claim, this.#revision));
        if (swapped.kind === "won") {
          this.#revision = swapped.revision;
          return "written";
        }
        const { stored } = await this.#answered(claims.get(this.key));
        if (stored === undefined || !this.#isOurs(stored.claim)) this.#isLost = true;
        else this.#revision = stored.revision;
      }
      return this.#isLost ? "lost" : "unknown";
    } catch {
      return "unknown";
    }
  }

  #isOurs({ holder, delivery }: WorkClaim): boolean {
    return holder?.process === this.#claim.holder?.process && delivery === this.#claim.delivery;
  }

  async #answered<T>(answer: Promise<T>): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new MillraceError("NATS_SILENT", `no answer in ${this.#answerMs} ms`)), this.#answerMs);
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
