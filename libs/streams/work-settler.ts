import { isDeepStrictEqual } from "node:util";
import { MillraceError } from "../contract/errors.ts";
import { parseDelivery } from "../contract/source.ts";
import { STREAM, workConsumerName } from "../contract/streams.ts";
import { releasedClaim, settlingClaim, type WorkClaim } from "../contract/work-claim.ts";
import type { WorkRetryConfig } from "../contract/work-config.ts";
import { workDeadLetterHeaders } from "../contract/work-dead-letter.ts";
import { afterEnd, type EndedDelivery, type WorkCounts, type WorkItem } from "../contract/work-message.ts";
import { type WorkDecision, type WorkEnd, workDecision } from "../contract/work-retry.ts";
import { workDeadLetterSubject } from "../contract/work-subjects.ts";
import type { Broker } from "./broker.ts";
import type { ClaimStore } from "./claims.ts";
import { isStreamFull } from "./errors.ts";
import type { SourceMessages } from "./messages.ts";
import type { OncePublisher } from "./publish-once.ts";
import { WORK_STREAMS } from "./work-consumers.ts";
import type { PulledWork } from "./work-pull.ts";
import type { WorkRetries } from "./work-retries.ts";

/** A message whose claim this process has. */
export interface ClaimedWork {
  readonly message: PulledWork;
  readonly item: WorkItem;
  readonly key: string;
  /** As this process wrote it last. */
  claim: WorkClaim;
  revision: number;
  /** By `performance.now()`: the claim was written then, or later. Whoever reads an answer late has held the claim for longer than it seems. */
  freshAtMs: number;
}

export type Settled =
  | { readonly kind: "settled" }
  /** The claim is somebody else's: nothing was done. */
  | { readonly kind: "lost" };

/** What becomes of a message whose attempt failed. */
export type FailureDecided =
  | { readonly kind: "decided"; readonly counts: WorkCounts; readonly decision: WorkDecision }
  | { readonly kind: "lost" };

export interface WorkFailure {
  readonly ended: WorkEnd;
  /** The pause that the handler asked for. */
  readonly askedMs?: number | undefined;
}

/** Answers of our own writes that came late stand between a claim and its next one; there is seldom more than one. */
const SWAP_TRIES = 4;
/** The part of ack_wait for which a claim that was written is relied on by a write that follows from it. Others believe it for longer (`LEASE_SHARE`). */
const RELIED_SHARE = 0.5;

/**
 * Turns the end of an attempt into what is durable (rules W1, S2, S4).
 *
 *   succeeded:    the claim is still ours → acknowledge → remove the claim
 *   failed:       swap the claim to `settling`, which is the decision → retry or DLQ entry → acknowledge → remove the claim
 *   handed back:  swap the claim to released → negative acknowledgement
 *
 * Each call may be repeated until it resolves, and the next worker goes on with a failure that was cut off anywhere (`receive`). The claim may be
 * renewed by somebody else meanwhile, but by those that write it: `renew`, `decide`, `handedBack`, `setAside`, `forget`.
 */
export class WorkSettler {
  readonly #broker: Pick<Broker, "acknowledge">;
  readonly #claims: ClaimStore;
  readonly #messages: SourceMessages;
  readonly #once: OncePublisher;
  readonly #retries: WorkRetries;
  readonly #retry: WorkRetryConfig;
  readonly #ackWaitMs: number;
  readonly #handBack: (ack: string) => void;
  readonly #random: () => number;

  constructor(options: {
    readonly broker: Pick<Broker, "acknowledge">;
    readonly claims: ClaimStore;
    readonly messages: SourceMessages;
    readonly once: OncePublisher;
    readonly retries: WorkRetries;
    readonly retry: WorkRetryConfig;
    readonly ackWaitMs: number;
    /** The negative acknowledgement. */
    readonly handBack: (ack: string) => void;
    readonly random?: () => number;
  }) {
    this.#broker = options.broker;
    this.#claims = options.claims;
    this.#messages = options.messages;
    this.#once = options.once;
    this.#retries = options.retries;
    this.#retry = options.retry;
    this.#ackWaitMs = options.ackWaitMs;
    this.#handBack = options.handBack;
    this.#random = options.random ?? Math.random;
  }

  /** Writes the claim again as it stands. False: it is somebody else's. */
  renew(work: ClaimedWork): Promise<boolean> {
    return this.#write(work, work.claim, () => false);
  }

  /** `forget` is to follow. */
  async succeeded(work: ClaimedWork): Promise<Settled> {
    const { stored } = await this.#claims.get(work.key);
    if (stored === undefined || !isOf(work, stored.claim)) return { kind: "lost" };
    await this.#acknowledge(work);
    return { kind: "settled" };
  }

  /** What is decided of a failure; `writeDown` is to follow. */
  async decide(work: ClaimedWork, { ended, askedMs }: WorkFailure): Promise<FailureDecided> {
    if (work.claim.settling !== true && !(await this.#swap(work, settlingClaim(work.claim, ended)))) return { kind: "lost" };
    const counts = countsOf(work);
    return { kind: "decided", counts, decision: workDecision(counts, ended, this.#retry, this.#random(), askedMs) };
  }

  /**
   * What follows from a claim that is `settling`; `forget` is to follow.
   * @throws MillraceError `CLAIM_OLD`: it took so long that the claim must be renewed first; `RETRY_FULL`, `DLQ_FULL`: it can be done later
   */
  async writeDown(work: ClaimedWork, counts: WorkCounts, ended: WorkEnd, decision: WorkDecision): Promise<void> {
    const { message, item } = work;
    const end = { counts, ended, delivery: message.delivery, ack: message.ack };
    // Gone: another worker has written it down, and its retry may have run to its end by now.
    if ((await this.#messages.read(message.source)) !== undefined) {
      if (decision.kind === "retry") {
        await this.#retries.publish(afterEnd(item, end), message.data, decision.delayMs, () => this.#mustHold(work));
      } else await this.#bury(work, end, decision.why);
    }
    await this.#acknowledge(work);
  }

  /** Removes the claim of a message that is gone. One that stays behind is swept by the monitor. */
  async forget({ key, revision }: ClaimedWork): Promise<void> {
    await this.#claims.remove(key, revision).catch(() => {});
  }

  /** Nothing is counted; the next worker makes the same attempt. */
  async handedBack(work: ClaimedWork): Promise<Settled> {
    if (!(await this.#swap(work, releasedClaim(work.claim)))) return { kind: "lost" };
    this.#handBack(work.message.ack);
    return { kind: "settled" };
  }

  /** Its end is written down later, by whoever is given the message next; nobody is at once. */
  async setAside(work: ClaimedWork): Promise<void> {
    await this.#swap(work, releasedClaim(work.claim));
  }

  /**
   * The worker before died between writing the retry and acknowledging what it is the retry of: that goes first, or it would be gone on with beside
   * its retry.
   */
  async removePredecessor({ predecessor, worker }: WorkItem): Promise<void> {
    const delivered = predecessor === undefined ? undefined : parseDelivery(predecessor);
    // N4: what a header says is believed only as far as a worker may act on it at all.
    if (delivered?.consumer !== workConsumerName(worker) || !isWorkStream(delivered.source.stream)) return;
    await this.#messages.remove(delivered.source, predecessor);
  }

  async #bury(work: ClaimedWork, end: EndedDelivery, why: string): Promise<void> {
    const { message, item } = work;
    this.#mustHold(work);
    try {
      await this.#once.publish({
        stream: STREAM.deadLetters,
        subject: workDeadLetterSubject(item.worker, item.origin),
        source: item.origin,
        headers: workDeadLetterHeaders(item, end, why),
        body: message.data,
      });
    } catch (cause) {
      if (!isStreamFull(cause)) throw cause;
      throw new MillraceError("DLQ_FULL", "the DLQ has no room: replay or remove what is there, or enlarge the store", { cause });
    }
  }

  /** Whoever took the claim of one that was held up may have settled the message, and its retry may have run to its end: nothing else would show it. */
  #mustHold({ freshAtMs }: ClaimedWork): void {
    const ageMs = performance.now() - freshAtMs;
    if (ageMs <= this.#ackWaitMs * RELIED_SHARE) return;
    throw new MillraceError("CLAIM_OLD", `the claim was renewed ${Math.round(ageMs)} ms ago, and may be another worker's`);
  }

  async #acknowledge({ message }: ClaimedWork): Promise<void> {
    // No answer: a server that was killed may have forgotten the delivery, and says nothing to that; the message is deleted then, if it is still there.
    if (!(await this.#broker.acknowledge(message.ack))) await this.#messages.remove(message.source, undefined);
  }

  /** A write whose answer was lost is found and counts as ours. */
  #swap(work: ClaimedWork, claim: WorkClaim): Promise<boolean> {
    return this.#write(work, claim, (stored) => isDeepStrictEqual(stored, claim));
  }

  async #write(work: ClaimedWork, claim: WorkClaim, isWritten: (stored: WorkClaim) => boolean): Promise<boolean> {
    for (let tries = 0; tries < SWAP_TRIES; tries += 1) {
      const sentAtMs = performance.now();
      const swapped = await this.#claims.swap(work.key, claim, work.revision);
      if (swapped.kind === "won") {
        work.revision = swapped.revision;
        work.claim = claim;
        work.freshAtMs = sentAtMs;
        return true;
      }
      const { stored } = await this.#claims.get(work.key);
      if (stored === undefined) return false;
      work.revision = stored.revision;
      if (isWritten(stored.claim)) {
        work.claim = claim;
        return true;
      }
      if (!isOf(work, stored.claim)) return false;
    }
    return false;
  }
}

const isWorkStream = (stream: string): boolean => WORK_STREAMS.some((name) => name === stream);

/** Only one process writes claims that name it, and only with one delivery at a time. */
function isOf({ claim }: ClaimedWork, stored: WorkClaim): boolean {
  return stored.holder?.process === claim.holder?.process && stored.delivery === claim.delivery;
}

function countsOf({ item, claim }: ClaimedWork): WorkCounts {
  return { failures: item.failures + claim.failures, free: item.free + claim.free };
}
