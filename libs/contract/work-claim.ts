import { z } from "zod";
import type { WorkRetryConfig } from "./work-config.ts";
import { nextAttempt, type WorkCounts, type WorkItem } from "./work-message.ts";
import { countedEnd, WORK_CLASSES, type WorkEnd, workDecision } from "./work-retry.ts";

/** A worker process: one container's life in one pod. */
export const claimHolder = z.object({
  /** Uid of its pod. */
  pod: z.string().min(1),
  podName: z.string(),
  node: z.string().optional(),
  /** Random: a container that is started again in the same pod is another process. */
  process: z.string().min(1),
  /** When it began, by its node's clock, in milliseconds since the epoch. */
  bootedAtMs: z.number(),
  /** The ack_wait that it renews by: after a change of the configuration others may have a shorter one. */
  ackWaitMs: z.number().positive().optional(),
});
export type ClaimHolder = z.output<typeof claimHolder>;

/**
 * W1: who holds a worker's message. KV `millrace_claims`, key `<stream>.<consumer>.<seq>`, written only by compare-and-swap. It is a lease: its
 * holder writes it again with each renewal of the message, so that its age says whether the holder lives.
 *
 *   (none) ── pulled ──► held ──┬─ succeeded, message acknowledged ───────────────────► (none)
 *                        ▲      ├─ failed ──► settling ── retry or DLQ entry written, message acknowledged ──► (none)
 *                        │      ├─ handed back (drain) ──► released ─┐
 *                        │      └─ its process died: the monitor ───►│ released, counted, `ended`
 *                        └───────────── pulled again ────────────────┘   then: run, sleep in WORK_RETRY, or dead
 */
export const workClaim = z.object({
  worker: z.string().min(1),
  /** Absent: released. */
  holder: claimHolder.optional(),
  /** Which delivery of the message it was taken with, and the reply subject of that delivery. */
  delivery: z.int().positive(),
  ack: z.string().min(1),
  /** Ends since the message was stored where it is; those before are in its headers. */
  failures: z.int().min(0),
  free: z.int().min(0),
  /** How the last attempt ended, counted above and not acted on yet. */
  ended: z.object({ class: z.enum(WORK_CLASSES), reason: z.string() }).optional(),
  /**
   * What follows from `ended` is being written down: the retry or the DLQ entry may be there already. Whoever takes the message goes on with that
   * and never runs it: it would run beside its own retry.
   */
  settling: z.literal(true).optional(),
  /** Its handler outlived its time limit, and its process is about to kill itself. */
  overran: z.literal(true).optional(),
});
export type WorkClaim = z.output<typeof workClaim>;

export const claimKey = (stream: string, consumer: string, seq: number): string => `${stream}.${consumer}.${seq}`;

export function parseClaimKey(
  key: string,
): { readonly stream: string; readonly consumer: string; readonly seq: number } | undefined {
  const match = /^([^.]+)\.([^.]+)\.(\d+)$/.exec(key);
  return match === null ? undefined : { stream: match[1] ?? "", consumer: match[2] ?? "", seq: Number(match[3]) };
}

/** The part of ack_wait within which a claim that was written is believed to be held by somebody who lives. Renewals come three times an ack_wait. */
export const LEASE_SHARE = 0.8;

/** For how long a claim that was written is believed. */
export const leaseMs = ({ ackWaitMs = 0 }: ClaimHolder, oursMs: number): number => Math.max(ackWaitMs, oursMs) * LEASE_SHARE;

export interface FoundClaim {
  readonly claim: WorkClaim;
  /** Since it was written, by the broker's clock. */
  readonly ageMs: number;
}

export interface Reception {
  readonly item: WorkItem;
  readonly found: FoundClaim | undefined;
  readonly by: ClaimHolder;
  readonly delivery: number;
  readonly ack: string;
  readonly ackWaitMs: number;
  readonly retry: WorkRetryConfig;
  readonly random: number;
}

export type Receipt =
  /** Write the claim; when that wins, make this attempt. */
  | { readonly kind: "run"; readonly claim: WorkClaim; readonly attempt: number; readonly counts: WorkCounts }
  /** Another delivery of it is being worked on: forget this one, neither acknowledged nor handed back. */
  | { readonly kind: "leave"; readonly why: string }
  /** An attempt ended, and the next one is not due yet: write the claim, then move the message to WORK_RETRY. */
  | {
      readonly kind: "sleep";
      readonly claim: WorkClaim;
      readonly counts: WorkCounts;
      readonly delayMs: number;
      readonly ended: WorkEnd;
    }
  /** Write the claim, then the DLQ entry. */
  | {
      readonly kind: "dead";
      readonly claim: WorkClaim;
      readonly counts: WorkCounts;
      readonly ended: WorkEnd;
      readonly why: string;
    };

/**
 * W1: what a worker does with a message that it was given. A message is delivered to a second worker while the first works on it when the broker
 * was restarted, and when somebody's negative acknowledgement came late (T: it gives the message away in 3 ms): the fresh claim says so.
 */
export function receive(reception: Reception): Receipt {
  const { item, found, by, delivery, ack } = reception;
  const last = found?.claim;
  const holder = last?.holder;
  if (found !== undefined && holder !== undefined && isAlive(holder, found, reception)) {
    return { kind: "leave", why: `pod ${holder.podName} holds it` };
  }
  const before: WorkCounts = { failures: last?.failures ?? 0, free: last?.free ?? 0 };
  const claim: WorkClaim = { worker: item.worker, holder: by, delivery, ack, ...before };
  if (last?.settling === true && last.ended !== undefined) return settles(claim, last.ended, summed(item, before), reception);
  // Nobody said how a holder ended that is still written there: its lease ran out.
  const ended = holder === undefined ? last?.ended : undecided(last);
  if (ended === undefined) return runs(claim, summed(item, before));
  const here = holder === undefined ? before : countedEnd(before, ended);
  const counted: WorkClaim = { ...claim, ...here };
  const counts = summed(item, here);
  const decision = workDecision(counts, ended, reception.retry, reception.random);
  if (decision.kind === "retry" && decision.delayMs === 0) return runs(counted, counts);
  return settles(counted, ended, counts, reception);
}

/** The claim with which the holder of a message decides how its attempt ended. Won, it is the decision; what follows is only written down. */
export function settlingClaim(claim: WorkClaim, ended: WorkEnd): WorkClaim {
  return { ...claim, ...countedEnd(claim, ended), ended, settling: true };
}

/** The claim of a process that is gone (rule W1): released, counted, and how it ended. What overran its time did so, whatever else is known. */
export function endedClaim({ holder: _, overran, ...claim }: WorkClaim, seen: WorkEnd): WorkClaim {
  // It ended before its process did.
  if (claim.settling === true) return claim;
  const ended: WorkEnd = overran === true ? OVERRAN : seen;
  return { ...claim, ...countedEnd(claim, ended), ended };
}

/** The claim of a message that its worker hands back unfinished: nothing is counted, the next one begins the same attempt. */
export function releasedClaim({ holder: _, overran: __, ended, settling, ...claim }: WorkClaim): WorkClaim {
  return settling === true && ended !== undefined ? { ...claim, ended, settling } : claim;
}

const OVERRAN: WorkEnd = { class: "timeout", reason: "the handler did not end when its time was up; its process was killed" };
const LEASE_LOST: WorkEnd = { class: "lost", reason: "its worker fell silent, and nobody saw how it ended" };

/** Another container of the same pod is the one before this. */
function isAlive(holder: ClaimHolder, { ageMs }: FoundClaim, { by, ackWaitMs }: Reception): boolean {
  if (holder.process === by.process) return false;
  return holder.pod !== by.pod && ageMs < leaseMs(holder, ackWaitMs);
}

function undecided(claim: WorkClaim | undefined): WorkEnd {
  return claim?.overran === true ? OVERRAN : LEASE_LOST;
}

/** Also a retry that is due at once goes by WORK_RETRY: it may stand there already. */
function settles(claim: WorkClaim, ended: WorkEnd, counts: WorkCounts, { retry, random }: Reception): Receipt {
  const decision = workDecision(counts, ended, retry, random);
  const decided: WorkClaim = { ...claim, ended, settling: true };
  if (decision.kind === "dead") return { kind: "dead", claim: decided, counts, ended, why: decision.why };
  return { kind: "sleep", claim: decided, counts, delayMs: decision.delayMs, ended };
}

function runs(claim: WorkClaim, counts: WorkCounts): Receipt {
  return { kind: "run", claim, attempt: nextAttempt(counts), counts };
}

function summed(item: WorkCounts, here: WorkCounts): WorkCounts {
  return { failures: item.failures + here.failures, free: item.free + here.free };
}
