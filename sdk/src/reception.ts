import { parseAckSubject } from "../../libs/contract/source.ts";
import type { ClaimHolder, Receipt } from "../../libs/contract/work-claim.ts";
import { claimKey, receive, releasedClaim } from "../../libs/contract/work-claim.ts";
import type { WorkRetryConfig } from "../../libs/contract/work-config.ts";
import { asFreshItem, type WorkItem, workItem } from "../../libs/contract/work-message.ts";
import type { Broker } from "../../libs/streams/broker.ts";
import type { ClaimSlot, ClaimStore } from "../../libs/streams/claims.ts";
import type { SourceMessages } from "../../libs/streams/messages.ts";
import type { PulledWork } from "../../libs/streams/work-pull.ts";
import type { ClaimedWork } from "../../libs/streams/work-settler.ts";

export type Reception =
  | { readonly kind: "leave"; readonly why: string }
  | { readonly kind: "claimed"; readonly work: ClaimedWork; readonly receipt: Exclude<Receipt, { kind: "leave" }> };

export interface ReceptionOptions {
  readonly worker: string;
  readonly broker: Pick<Broker, "clockOffsetMs">;
  readonly claims: Pick<ClaimStore, "get" | "swap" | "remove">;
  readonly messages: Pick<SourceMessages, "read">;
  readonly holder: ClaimHolder;
  readonly ackWaitMs: number;
  /** For how long the broker has answered: while it does not nobody can renew anything. */
  readonly upForMs: () => number;
  readonly retry: WorkRetryConfig;
  readonly random?: () => number;
}

export interface ReadWork {
  readonly item: WorkItem;
  /** Nobody but a worker may publish to WORK_RETRY: what cannot be read there is not tried. */
  readonly problem: string | undefined;
}

export function readWork(worker: string, { source, subject, headers }: PulledWork): ReadWork {
  const message = { ...source, subject, headers };
  const item = workItem(worker, message);
  if (item !== undefined) return { item, problem: undefined };
  return { item: asFreshItem(worker, message), problem: "it is in WORK_RETRY, and no worker put it there" };
}

/** A claim that was removed leaves a mark for a minute (`ClaimStore.remove`); with half of it no clock matters. */
const REMOVAL_SHOWS_MS = 30_000;

export const keyOf = ({ source, consumer }: PulledWork): string => claimKey(source.stream, consumer, source.seq);

/** W1: takes the claim of a message that was pulled, or leaves it. May be called again when the broker did not answer. */
export class Receiver {
  readonly #options: ReceptionOptions;

  constructor(options: ReceptionOptions) {
    this.#options = options;
  }

  async receive(message: PulledWork, item: WorkItem, isFirstTry: boolean): Promise<Reception> {
    const { claims, holder, ackWaitMs, retry, random = Math.random } = this.#options;
    const key = keyOf(message);
    const nothing: ClaimSlot = { stored: undefined, revision: 0 };
    // A message that comes for the first time has no claim; if it has one all the same, the swap says so.
    let slot = isFirstTry && message.delivery === 1 ? nothing : await claims.get(key);
    for (;;) {
      const found = await this.#found(slot, message);
      const isOurs =
        found !== undefined && found.claim.holder?.process === holder.process && found.claim.delivery === message.delivery;
      const receipt = receive({
        item,
        // What a lost answer left behind is not somebody's who fell silent.
        found: isOurs ? { ...found, claim: releasedClaim(found.claim) } : found,
        by: holder,
        delivery: message.delivery,
        ack: message.ack,
        ackWaitMs,
        retry,
        random: random(),
      });
      if (receipt.kind === "leave") return receipt;
      const { claim } = receipt;
      const freshAtMs = performance.now();
      const swapped = await claims.swap(key, claim, slot.revision);
      if (swapped.kind === "won") {
        const { revision } = swapped;
        if (await this.#isThere(message, slot)) {
          return { kind: "claimed", receipt, work: { message, item, key, claim, revision, freshAtMs } };
        }
        // What stays behind is swept by the monitor.
        await claims.remove(key, revision).catch(() => {});
        return { kind: "leave", why: "it is gone: another worker has settled it" };
      }
      slot = await claims.get(key);
    }
  }

  /**
   * A delivery that was read late, or whose claim was written late, may be of a message that another worker has settled meanwhile: its claim is free then,
   * and running it once more would be found out by nobody. Asked only where that can be: whoever settles a message has its claim, and removes it after
   * the message. So either something stands under its key, if only what marks the removal, or the removal was longer ago than the mark lasts; and the
   * message was there when it was delivered, which was after it was asked for. The usual first delivery costs no question.
   */
  async #isThere({ source, askedAtMs }: PulledWork, before: ClaimSlot): Promise<boolean> {
    if (before.revision === 0 && performance.now() - askedAtMs < REMOVAL_SHOWS_MS) return true;
    return (await this.#options.messages.read(source)) !== undefined;
  }

  async #found({ stored }: ClaimSlot, { source }: PulledWork) {
    if (stored === undefined) return undefined;
    // S1: sequences repeat when a stream is made anew, and the claims of the old one are still there.
    const claimed = parseAckSubject(stored.claim.ack);
    if (claimed !== undefined && claimed.storedAt !== source.storedAt) return undefined;
    const { broker, upForMs } = this.#options;
    const nowMs = Date.now() + (await broker.clockOffsetMs());
    return { claim: stored.claim, ageMs: Math.min(nowMs - stored.writtenAtMs, upForMs()) };
  }
}
