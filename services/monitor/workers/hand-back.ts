import { silentAfterMs } from "../../../libs/contract/lease-rhythm.ts";
import { parseAckSubject } from "../../../libs/contract/source.ts";
import { type ClaimHolder, endedClaim, parseClaimKey, type WorkClaim } from "../../../libs/contract/work-claim.ts";
import { type ProcessEnd, processEnd } from "../../../libs/contract/worker-end.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import { type Metrics, queueLabel } from "../../../libs/runtime/metrics.ts";
import type { ClaimStore, StoredClaim } from "../../../libs/streams/claims.ts";
import type { ClaimsWatch } from "./claims-watch.ts";
import type { WorkerPods } from "./worker-pods.ts";

/** Processes that ended themselves; more than that in one term are forgotten, and their other messages count what their pod says. */
const OVERRUNS_KEPT = 1_000;

export interface HandBackOptions {
  readonly claims: Pick<ClaimsWatch, "ofPod" | "all" | "pods" | "isSynced">;
  readonly store: Pick<ClaimStore, "swap">;
  readonly pods: Pick<WorkerPods, "sighting" | "problem">;
  /** Negative acknowledgement by a reply subject: fire and forget, for one that is lost there is ack_wait. */
  readonly nak: (ack: string) => void;
  readonly ackWaitMs: number;
  /** The broker's clock. */
  readonly nowMs: () => Promise<number>;
  /** For how long the broker has answered: while it does not nobody can renew anything. */
  readonly upForMs: () => number;
  readonly workers: () => Readonly<Record<string, unknown>>;
  readonly metrics: Pick<Metrics, "workerHandbacks">;
  readonly log: Log;
}

/**
 * W1: what a dead process held goes back. The claim is released and counted by a compare-and-swap on the revision that named the dead process, and
 * only who has won that hands the message back: a claim that somebody took meanwhile is left alone, and so is its message.
 */
export class HandBack {
  readonly #options: HandBackOptions;
  readonly #overruns = new Set<string>();
  /** Revisions of released claims whose message was handed back in this term. */
  readonly #handed = new Map<string, number>();

  constructor(options: HandBackOptions) {
    this.#options = options;
  }

  /** Whether this claim's process may be dead, and its pod is to be looked at. */
  isSuspicious({ key, claim }: StoredClaim): boolean {
    return claim.holder !== undefined && this.#endOf(key, claim.holder) !== undefined;
  }

  /** All claims of one pod. Returns after how many milliseconds to look again, when something is in doubt. */
  async look(pod: string): Promise<number | undefined> {
    const { claims } = this.#options;
    const held = claims.ofPod(pod);
    for (const { claim } of held) if (claim.overran === true) this.#overran(claim.holder);
    const waits: number[] = [];
    for (const stored of held) {
      const waitMs = await this.#lookAt(stored);
      if (waitMs !== undefined) waits.push(waitMs);
    }
    return waits.length === 0 ? undefined : Math.min(...waits);
  }

  /**
   * Claims that were released and whose message may still be out: whoever released them may not have come to hand it back. Nobody works on it, so
   * that once too often harms nobody.
   */
  sweepReleased(): void {
    const { claims } = this.#options;
    const there = new Set<string>();
    for (const stored of claims.all()) {
      there.add(stored.key);
      if (stored.claim.holder === undefined && this.#handed.get(stored.key) !== stored.revision) this.#giveBack(stored);
    }
    for (const key of this.#handed.keys()) if (!there.has(key)) this.#handed.delete(key);
  }

  async #lookAt(stored: StoredClaim): Promise<number | undefined> {
    const { holder } = stored.claim;
    const end = holder === undefined ? undefined : this.#endOf(stored.key, holder);
    if (holder === undefined || end === undefined) return undefined;
    const waitMs = end.isSeen ? 0 : await this.#untilMissed(stored);
    if (waitMs > 0) return waitMs;
    await this.#release(stored, holder, end);
    return undefined;
  }

  #endOf(key: string, holder: ClaimHolder): ProcessEnd | undefined {
    const { pods } = this.#options;
    const sighting = pods.sighting(holder.pod);
    if (sighting === undefined) {
      // It went before this monitor began, or is none of the release's pods.
      return pods.problem() === undefined ? { class: "lost", reason: "its pod is gone", isSeen: false } : undefined;
    }
    const { bootedAtMs, process } = holder;
    return processEnd(sighting.pod, sighting.isGone, { key, bootedAtMs, isOthersOverrun: this.#overruns.has(process) });
  }

  /** How long until its heartbeat has been missed for certain. */
  async #untilMissed({ writtenAtMs, claim }: StoredClaim): Promise<number> {
    const { nowMs, upForMs } = this.#options;
    const ackWaitMs = Math.max(this.#options.ackWaitMs, claim.holder?.ackWaitMs ?? 0);
    const silentMs = Math.min((await nowMs()) - writtenAtMs, upForMs());
    return Math.max(0, silentAfterMs(ackWaitMs) - silentMs);
  }

  async #release(stored: StoredClaim, holder: ClaimHolder, { class: seen, reason }: ProcessEnd): Promise<void> {
    const { store, metrics, workers, log } = this.#options;
    const released = endedClaim(stored.claim, { class: seen, reason });
    const outcome = await store.swap(stored.key, released, stored.revision);
    if (outcome.kind === "lost") return;
    this.#giveBack({ ...stored, claim: released, revision: outcome.revision });
    const { worker, delivery, failures, free, settling, ended } = released;
    // Of one that was being settled the claim says how its attempt ended, before its process did.
    const how = settling === true ? { class: seen, reason } : { class: seen, reason, ...ended };
    metrics.workerHandbacks.inc({ worker: queueLabel(worker, workers()), class: how.class });
    const { podName: pod, node } = holder;
    log.info("message.handed-back", { worker, claim: stored.key, pod, node, ...how, delivery, failures, free });
  }

  #giveBack(stored: StoredClaim): void {
    this.#handed.set(stored.key, stored.revision);
    if (isOwnAck(stored)) this.#options.nak(stored.claim.ack);
  }

  #overran(holder: ClaimHolder | undefined): void {
    if (holder === undefined) return;
    if (this.#overruns.size >= OVERRUNS_KEPT) this.#overruns.clear();
    this.#overruns.add(holder.process);
  }
}

/** Whoever may write claims must not make the monitor publish anywhere else than to its message's own reply subject. */
function isOwnAck({ key, claim }: { readonly key: string; readonly claim: WorkClaim }): boolean {
  const named = parseClaimKey(key);
  const source = parseAckSubject(claim.ack);
  if (named === undefined || source === undefined) return false;
  return source.stream === named.stream && source.seq === named.seq && claim.ack.split(".").includes(named.consumer);
}
