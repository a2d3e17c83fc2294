import { assertNever } from "./errors.ts";
import type { AttemptRecord, JobRecord, JobReference } from "./record.ts";
import { ATTEMPTS_KEPT, isTerminal } from "./record.ts";
import type { MessageSource } from "./source.ts";
import type { Ended } from "./verdict.ts";

/** A Job of ours was seen for the first time (rule F1). */
export interface FirstSight {
  readonly kind: "firstSight";
  readonly id: string;
  readonly hash: string;
  readonly queue: string;
  readonly type: string;
  readonly messageHash: string;
  readonly source: MessageSource;
  readonly attempt: number;
  readonly job: JobReference;
  readonly at: string;
}

/** The recorded attempt ended (rule J1). */
export interface AttemptEnded {
  readonly kind: "attemptEnded";
  readonly attempt: number;
  readonly uid: string;
  readonly verdict: Ended;
  readonly at: string;
}

export type RecordEvent = FirstSight | AttemptEnded;

export type Transition =
  | { readonly kind: "moved"; readonly record: JobRecord }
  /** The record already says what the event would make it say: the write happened, only its answer was lost. */
  | { readonly kind: "already"; readonly record: JobRecord }
  | { readonly kind: "refused"; readonly why: string };

/**
 * The one function that moves a record:
 *
 *   (none) → running → succeeded | dead        retrying → running
 *
 * Pure: the caller writes the result with a compare-and-swap and, when it lost the race, asks again with what it then reads.
 * I5: an event about another uid or attempt than the recorded one is refused.
 */
export function transition(record: JobRecord | undefined, event: RecordEvent): Transition {
  switch (event.kind) {
    case "firstSight":
      return firstSight(record, event);
    case "attemptEnded":
      return attemptEnded(record, event);
    default:
      return assertNever(event);
  }
}

function firstSight(record: JobRecord | undefined, event: FirstSight): Transition {
  const attempt: AttemptRecord = { n: event.attempt, uid: event.job.uid };
  if (record === undefined) {
    const { kind: _kind, at, ...facts } = event;
    return {
      kind: "moved",
      record: {
        ...facts,
        state: "running",
        life: 1,
        budgetFrom: event.attempt,
        attempts: [attempt],
        createdAt: at,
        updatedAt: at,
      },
    };
  }
  if (record.job?.uid === event.job.uid && record.attempt === event.attempt) return { kind: "already", record };
  if (record.state !== "retrying" || record.next?.attempt !== event.attempt) {
    return refused(
      `attempt ${event.attempt} of Job ${event.job.uid} is not what the record awaits (${record.state}, attempt ${record.attempt})`,
    );
  }
  const { next: _next, ...rest } = record;
  return {
    kind: "moved",
    record: {
      ...rest,
      state: "running",
      attempt: event.attempt,
      source: event.source,
      job: event.job,
      attempts: [...record.attempts, attempt].slice(-ATTEMPTS_KEPT),
      updatedAt: event.at,
    },
  };
}

function attemptEnded(record: JobRecord | undefined, event: AttemptEnded): Transition {
  if (record === undefined) return refused("there is no record");
  if (record.job?.uid !== event.uid || record.attempt !== event.attempt) {
    return refused(
      `the verdict is about Job ${event.uid}, attempt ${event.attempt}; the record is about ${record.job?.uid}, ${record.attempt}`,
    );
  }
  if (isTerminal(record.state)) return { kind: "already", record };
  if (record.state !== "running") return refused(`the record is ${record.state}`);
  const { verdict } = event;
  const ended: AttemptRecord = {
    n: event.attempt,
    uid: event.uid,
    outcome: verdict.kind,
    endedAt: verdict.endedAt,
    ...(verdict.node === undefined ? {} : { node: verdict.node }),
    ...(verdict.startedAt === undefined ? {} : { startedAt: verdict.startedAt }),
    ...(verdict.exitCode === undefined ? {} : { exitCode: verdict.exitCode }),
    ...(verdict.kind === "failed" ? { class: verdict.class, reason: verdict.reason.slice(0, 300) } : {}),
  };
  return {
    kind: "moved",
    record: {
      ...record,
      state: verdict.kind === "succeeded" ? "succeeded" : "dead",
      attempts: record.attempts.map((attempt) => (attempt.n === event.attempt ? { ...attempt, ...ended } : attempt)),
      updatedAt: event.at,
      ...(verdict.kind === "failed" ? { reason: verdict.reason.slice(0, 500) } : {}),
      ...(verdict.kind === "succeeded" && verdict.result !== undefined ? { result: verdict.result.slice(0, 1024) } : {}),
    },
  };
}

function refused(why: string): Transition {
  return { kind: "refused", why };
}
