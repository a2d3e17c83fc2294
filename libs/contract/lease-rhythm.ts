/**
 * When the holder of a lease renews it, and when others miss that: both sides count with the same times.
 *
 *   written ── a third of ack_wait ──► due ── no answer ──► made up for ── a little late ──► missed
 */

/** A write is waited for no longer, whatever ack_wait. */
const LONGEST_ANSWER_MS = 5_000;

/** This part of ack_wait, and no more than so long, is what a process and the broker may be late by. */
const LATE_SHARE = 0.1;
const LATE_MS = 3_000;

/** From one renewal to the next. */
export const renewEveryMs = (ackWaitMs: number): number => ackWaitMs / 3;

/** For how long the answer to a renewal is waited for. */
export const renewalAnswerMs = (ackWaitMs: number): number => Math.min(LONGEST_ANSWER_MS, renewEveryMs(ackWaitMs) / 2);

/** A renewal without an answer is made up for so long after it began, or when it is no longer waited for. */
export const renewAgainMs = (ackWaitMs: number): number => renewEveryMs(ackWaitMs) / 4;

/** Since a claim was written, until its next renewal is missed for certain: one that was lost on its way is still made up for. */
export function silentAfterMs(ackWaitMs: number): number {
  const againMs = Math.max(renewalAnswerMs(ackWaitMs), renewAgainMs(ackWaitMs));
  return renewEveryMs(ackWaitMs) + againMs + Math.min(LATE_MS, ackWaitMs * LATE_SHARE);
}
