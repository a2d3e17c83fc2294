import { renewAgainMs, renewalAnswerMs, renewEveryMs } from "../../../libs/contract/lease-rhythm.ts";
import { LEASE_SHARE } from "../../../libs/contract/work-claim.ts";
import { HeldLease, type LeaseBroker } from "./held-lease.ts";
import { leaveLastWords } from "./termination-message.ts";
import type { Lease } from "./thread-messages.ts";

/** How long the end of the process waits for the broker to know why. */
const MARK_WITHIN_MS = 3_000;

interface Kept {
  readonly lease: HeldLease;
  /** Until when its handler must have ended, undefined once it has. */
  killAtMs: number | undefined;
  renewAtMs: number;
  isRenewing: boolean;
  renewedAtMs: number;
  /** Others no longer believe that it is held. */
  isStale: boolean;
}

export interface Overrun {
  readonly key: string;
  readonly why: "timeout" | "leaseLost";
}

export interface LeaseKeeperOptions {
  readonly ackWaitMs: number;
  /** How long a handler may take to heed that its time is up, or that its lease was lost. */
  readonly graceMs: number;
  readonly broker: () => LeaseBroker | undefined;
  readonly onLost: (ticket: number) => void;
  /** It could not be renewed for so long that others may take it. Told again only after it was. */
  readonly onStale: (key: string) => void;
  /** Leaves word of the end, by keys of the claims whose handlers outlived their time: the broker may be away, and whoever sees the end asks. */
  readonly leaveWords?: (overran: readonly string[]) => void;
  /** Ends the process. */
  readonly onOverrun: (overrun: Overrun) => void;
  readonly random?: () => number;
}

/**
 * Renews the leases of all messages that this process works on, each three times an ack_wait and not all at once, and ends the process when a
 * handler outlives its time or its lease: nobody else may be given the message before.
 *
 *   held ──(lost)──► lost                                    (told once, renewed no more)
 *   held, lost ──(its handler ended)──► settling ──► released
 *   held ──(time + grace over)──► marked `overran` ──► last words ──► the process is killed
 *   lost ──(grace over)──► last words ──► the process is killed
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #renewEveryMs: number;
  readonly #random: () => number;
  readonly #kept = new Map<number, Kept>();
  #isEnding = false;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.#renewEveryMs = renewEveryMs(options.ackWaitMs);
    this.#random = options.random ?? Math.random;
  }

  hold(ticket: number, lease: Lease, { nowMs, leftMs }: { readonly nowMs: number; readonly leftMs: number }): void {
    this.#kept.set(ticket, {
      lease: new HeldLease({
        lease,
        broker: this.#options.broker,
        answerMs: renewalAnswerMs(this.#options.ackWaitMs),
      }),
      killAtMs: nowMs + leftMs + this.#options.graceMs,
      renewAtMs: nowMs + this.#renewEveryMs * (0.5 + this.#random() / 2),
      isRenewing: false,
      renewedAtMs: nowMs,
      isStale: false,
    });
  }

  /** What is left to do takes as long as the broker wants, and nobody is killed for it; the lease is renewed as before. */
  handlerEnded(ticket: number): void {
    const kept = this.#kept.get(ticket);
    if (kept !== undefined) kept.killAtMs = undefined;
  }

  /** The claim's revision, when no write of it is under way any more; undefined when it is lost, or is not held. */
  async release(ticket: number): Promise<number | undefined> {
    const kept = this.#kept.get(ticket);
    this.#kept.delete(ticket);
    return kept?.lease.settled();
  }

  /** Whether some handler still has time, so that its holding up the event loop is no reason for anything. */
  hasTime(nowMs: number): boolean {
    return [...this.#kept.values()].some(({ killAtMs }) => killAtMs !== undefined && nowMs < killAtMs + MARK_WITHIN_MS);
  }

  /** How many leases could not be renewed for so long that others may take them. */
  get stale(): number {
    return [...this.#kept.values()].filter(({ isStale }) => isStale).length;
  }

  /** The broker is there again: what it missed is made up for. */
  renewAll(nowMs: number): void {
    for (const kept of this.#kept.values()) kept.renewAtMs = nowMs;
    this.tick(nowMs);
  }

  /** To be called often. */
  tick(nowMs: number): void {
    if (this.#isEnding) return;
    const overdue = [...this.#kept.values()].filter(({ killAtMs }) => killAtMs !== undefined && killAtMs <= nowMs);
    if (overdue.length > 0) {
      this.#isEnding = true;
      void this.#end(overdue.map(({ lease }) => lease));
      return;
    }
    for (const [ticket, kept] of this.#kept) {
      if (!kept.isStale && nowMs - kept.renewedAtMs > this.#options.ackWaitMs * LEASE_SHARE) {
        kept.isStale = true;
        this.#options.onStale(kept.lease.key);
      }
      if (kept.renewAtMs > nowMs || kept.isRenewing || kept.lease.isLost) continue;
      kept.isRenewing = true;
      kept.renewAtMs = nowMs + this.#renewEveryMs;
      void this.#renew(ticket, kept, nowMs);
    }
  }

  async #renew(ticket: number, kept: Kept, nowMs: number): Promise<void> {
    const outcome = await kept.lease.renew();
    kept.isRenewing = false;
    if (outcome === "written") {
      kept.renewedAtMs = nowMs;
      kept.isStale = false;
    }
    // A renewal that is missed is made up for well before the lease runs out.
    if (outcome === "unknown") kept.renewAtMs = Math.min(kept.renewAtMs, nowMs + renewAgainMs(this.#options.ackWaitMs));
    if (outcome !== "lost" || this.#kept.get(ticket) !== kept) return;
    if (kept.killAtMs !== undefined) kept.killAtMs = Math.min(kept.killAtMs, nowMs + this.#options.graceMs);
    this.#options.onLost(ticket);
  }

  async #end(overdue: readonly HeldLease[]): Promise<void> {
    const timer = Promise.withResolvers<void>();
    setTimeout(timer.resolve, MARK_WITHIN_MS);
    // The broker may be away.
    await Promise.race([timer.promise, Promise.all(overdue.map((lease) => lease.markOverrun()))]);
    const { leaveWords = leaveLastWords, onOverrun } = this.#options;
    leaveWords(overdue.filter(({ isLost }) => !isLost).map(({ key }) => key));
    const [first] = overdue;
    if (first !== undefined) onOverrun({ key: first.key, why: first.isLost ? "leaseLost" : "timeout" });
  }
}
