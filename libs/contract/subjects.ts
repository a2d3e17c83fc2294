import type { MessageSource } from "./source.ts";
import { sourceKey } from "./source.ts";

/** Where a fresh message arrived: `jobs.<queue>.<type>`; the type may have several tokens and may be missing. */
export interface JobSubject {
  readonly queue: string;
  readonly type: string;
}

export function parseJobSubject(subject: string): JobSubject | undefined {
  const [root, queue, ...type] = subject.split(".");
  return root === "jobs" && queue !== undefined && queue !== "" ? { queue, type: type.join(".") } : undefined;
}

export const jobsFilter = (queue: string): string => `jobs.${queue}.>`;

/** `events.<queue>.<hash>.<attempt>.<what>` (design §4.3). */
export function eventSubject(queue: string, hash: string, attempt: number, what: string): string {
  return `events.${queue}.${hash}.${attempt}.${what}`;
}

/** A retry that is due: the queue's consumer on RETRY takes it. */
export const retryRunSubject = (queue: string, hash: string, attempt: number): string => `retry.run.${queue}.${hash}.${attempt}`;
/** A retry that sleeps: no consumer sees it; the broker puts it under its due subject when its time has come. */
export const retryAtSubject = (hash: string, attempt: number): string => `retry.at.${hash}.${attempt}`;
export const retryFilter = (queue: string): string => `retry.run.${queue}.>`;

export function parseRetrySubject(subject: string): { queue: string; hash: string; attempt: number } | undefined {
  const match = /^retry\.run\.([^.]+)\.([a-z2-7]+)\.(\d+)$/.exec(subject);
  return match === null ? undefined : { queue: match[1] ?? "", hash: match[2] ?? "", attempt: Number(match[3]) };
}

/** D11: a rejected message appears under its own source, never under the id that it names. */
export function rejectedEventSubject(queue: string, source: MessageSource): string {
  return `events.${subjectToken(queue)}.${sourceKey(source)}.0.rejected`;
}

/** An entry of an attempt: `dlq.<queue>.<type>.<hash>.<attempt>`. */
export function deadLetterSubject(queue: string, type: string, hash: string, attempt: number): string {
  return `dlq.${subjectToken(queue)}.${typeTokens(type)}.${hash}.${attempt}`;
}

/** Every entry of a queue. */
export const deadLettersFilter = (queue: string): string => `dlq.${subjectToken(queue)}.>`;

/** An entry of a message that never became a Job: `dlq.<queue>.<type>.<stream>-<seq>-<store time ns>`. */
export function rejectedDeadLetterSubject(queue: string, type: string, source: MessageSource): string {
  return `dlq.${subjectToken(queue)}.${typeTokens(type)}.${sourceKey(source)}`;
}

/** The producer chose the type: keep what is readable, within a length that leaves room in the protocol's 4 KiB control line. */
function typeTokens(type: string): string {
  const tokens = type.slice(0, 120).split(".").map(subjectToken);
  return tokens.join(".");
}

function subjectToken(text: string): string {
  const bent = text.replace(/[^A-Za-z0-9_-]/g, "_").slice(0, 64);
  return bent === "" ? "_" : bent;
}
