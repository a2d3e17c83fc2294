import { createHash } from "node:crypto";
import { base32 } from "./names.ts";

/** Keeps WORK in being while no worker is configured; nobody publishes there. */
export const WORK_PLACEHOLDER = "work.fresh.>";

/** N1, for messages of workers: the identity of one message across its retries, made of where it was stored first (`sourceKey`). */
export function workHash(origin: string): string {
  return base32(createHash("sha256").update(origin).digest(), 20);
}

/** A retry that sleeps: no consumer sees it, so that KEDA's lag falls; the broker puts it under its due subject when its time has come. */
export const workAtSubject = (worker: string, hash: string, attempt: number): string => `work.at.${worker}.${hash}.${attempt}`;
export const workAtFilter = (worker: string): string => `work.at.${worker}.>`;
/** A retry that is due. */
export const workRunSubject = (worker: string, hash: string, attempt: number): string => `work.run.${worker}.${hash}.${attempt}`;
export const workRunFilter = (worker: string): string => `work.run.${worker}.>`;

export function parseWorkRetrySubject(
  subject: string,
): { readonly worker: string; readonly hash: string; readonly attempt: number } | undefined {
  const match = /^work\.(?:run|at)\.([^.]+)\.([a-z2-7]+)\.(\d+)$/.exec(subject);
  return match === null ? undefined : { worker: match[1] ?? "", hash: match[2] ?? "", attempt: Number(match[3]) };
}

/** What a worker gave up on: `dlq.work.<worker>.<stream>-<seq>-<store time ns>` of the message as it was published. */
export const workDeadLetterSubject = (worker: string, origin: string): string => `dlq.work.${worker}.${origin}`;
