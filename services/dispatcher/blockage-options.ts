import type { Clock } from "../../libs/runtime/clock.ts";
import type { BlockCause } from "./block-cause.ts";

/** What is blocked together: a namespace may be full or forbidden for one queue, and open for the next. */
export interface BlockageKey {
  readonly queue: string;
  readonly namespace: string;
}

/** `counts`: it may be the message's own fault (a policy's 403), not the namespace's or the server's (quota, 429, no answer). */
export interface PostBlocked {
  readonly kind: "blocked";
  readonly why: string;
  readonly status: number;
  readonly cause: BlockCause;
  readonly counts: boolean;
}

/** For readiness, event and metrics. `forMs` counts from the first refusal; `held` are the items that wait, whatever is being tried included. */
export interface BlockReason extends BlockageKey {
  readonly why: string;
  readonly status: number;
  readonly forMs: number;
  readonly held: number;
}

/** Why an item is not kept: its key keeps enough, it was kept for long enough, or the process ends. */
export type Overdue = "full" | "late" | "stopped";

export type PostReport = { readonly kind: "accepted" } | PostBlocked;

export interface BlockageOptions<T> {
  readonly clock: Clock;
  /** Two deliveries of one message are one item. */
  readonly id: (item: T) => string;
  /** What an item's `refusals` were when it was overdue before. */
  readonly refusedBefore?: (item: T) => number;
  /** A share of the slots that such an item takes one of: it is kept while fewer are. At least one item is. */
  readonly holdAtMost: (key: BlockageKey, item: T) => number;
  /** ack_wait. */
  readonly holdForMs: number;
  /** Try this one: it is the probe. */
  readonly onProbe: (item: T) => void;
  /** Try these again: the block has ended. */
  readonly onRelease: (items: readonly T[]) => void;
  /** No longer kept here: to be moved to RETRY, or handed back when the process ends. `refusals` is to be brought along. */
  readonly onOverdue: (item: T, because: Overdue, refusals: number) => void;
  /** No longer kept here: refused 5 times while others were accepted in between. */
  readonly onRefused: (item: T, why: string) => void;
  /** Once for each blockage, at its first refusal; not again when it recovers and closes anew. */
  readonly onBlocked?: (reason: BlockReason) => void;
  /** For so long the key has been closed since it was said last; at every change, and when it is asked for. */
  readonly onClosedFor?: (key: BlockageKey, cause: BlockCause, closedMs: number) => void;
  readonly random?: () => number;
}
