import type { ClaimedWork, WorkSettler } from "../../libs/streams/work-settler.ts";
import type { HeartbeatPort } from "./heartbeat-port.ts";

/**
 * The part of ack_wait for which a claim that was written counts as held without asking. What is begun then is renewed by the second thread within a
 * third of ack_wait, so that its claim is never older than half of it, and others believe it for longer (`LEASE_SHARE`).
 */
const FRESH_SHARE = 1 / 6;

export interface WorkLeaseOptions {
  readonly work: ClaimedWork;
  readonly ackWaitMs: number;
  readonly heartbeats: Pick<HeartbeatPort, "hold" | "handlerEnded" | "release">;
  readonly settler: Pick<WorkSettler, "renew">;
}

/**
 * The lease of one message as this thread has it (rule W1).
 *
 *   claimed ⇄ kept: the second thread renews it, and nobody else may write its claim            → lost: it is somebody else's
 *
 * An answer that is read late, because a handler held up the event loop or the process was stopped, says nothing of now: what relies on the claim asks
 * `isFresh` in the same turn, and `refresh` when it is not.
 */
export class WorkLease {
  readonly work: ClaimedWork;
  readonly #options: WorkLeaseOptions;
  #isKept = false;

  constructor(options: WorkLeaseOptions) {
    this.#options = options;
    this.work = options.work;
  }

  get isFresh(): boolean {
    return performance.now() - this.work.freshAtMs <= this.#options.ackWaitMs * FRESH_SHARE;
  }

  /** From now on it is renewed. With a deadline a handler runs, until `handlerEnded`: its process does not outlive it for long. */
  keep(deadlineMs?: number): void {
    const { key, message, claim, revision } = this.work;
    this.#options.heartbeats.hold({ key, ack: message.ack, claim, revision, deadlineMs: deadlineMs ?? Date.now() });
    this.#isKept = true;
    if (deadlineMs === undefined) this.handlerEnded();
  }

  handlerEnded(): void {
    this.#options.heartbeats.handlerEnded(this.work.key);
  }

  /** Nothing renews it any more, so that its claim may be written. False: it is somebody else's. */
  async release(): Promise<boolean> {
    if (!this.#isKept) return true;
    this.#isKept = false;
    const released = await this.#options.heartbeats.release(this.work.key);
    if (released === undefined) return false;
    this.work.revision = released.revision;
    return true;
  }

  /** Makes certain that it is still ours; kept it stays so. False: it is somebody else's. */
  async refresh(): Promise<boolean> {
    const { settler } = this.#options;
    const wasKept = this.#isKept;
    let isOurs = true;
    try {
      while (isOurs && !this.isFresh) {
        isOurs = (await this.release()) && (await settler.renew(this.work));
      }
      return isOurs;
    } finally {
      if (wasKept && isOurs && !this.#isKept) this.keep();
    }
  }
}
