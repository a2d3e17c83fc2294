import { attemptEnded } from "./attempt-ended.ts";
import { assertNever } from "./errors.ts";
import { tracedBy } from "./job-trace.ts";
import type { AttemptRecord, JobRecord } from "./record.ts";
import { ATTEMPTS_KEPT, isTerminal, memoryOf } from "./record.ts";
import type {
  Adopted,
  AttemptOf,
  Cancelled,
  Delayed,
  FirstSight,
  Followed,
  OutcomeSeen,
  RecordEvent,
  Refused,
  StartedAgain,
} from "./record-event.ts";
import { cut } from "./record-size.ts";
import { type MessageSource, sameSource, sourceKey } from "./source.ts";
import { already, moved, refused, type Transition } from "./transition-result.ts";

export type { Transition } from "./transition-result.ts";

/**
 * The one function that moves a record:
 *
 *   (none) → running | retrying | cancelled
 *   running → succeeded | retrying | dead | cancelled
 *   retrying → running | retrying (later) | dead | cancelled
 *   succeeded | dead | cancelled → retrying (another life)
 *
 * Pure: the caller writes the result with a compare-and-swap and, when it lost the race, asks again with what it then reads.
 * I5: an event about another uid, attempt or life than the recorded one is refused, unless it is ahead of a record that was restored from
 * older data (rules D4, F5). Attempt numbers never restart while a record exists.
 */
export function transition(record: JobRecord | undefined, event: RecordEvent): Transition {
  switch (event.kind) {
    case "firstSight":
      return firstSight(record, event);
    case "attemptEnded":
      return attemptEnded(record, event);
    case "delayed":
      return delayed(record, event);
    case "refused":
      return refusedForGood(record, event);
    case "cancelled":
      return cancelled(record, event);
    case "adopted":
      return adopted(record, event);
    case "startedAgain":
      return startedAgain(record, event);
    case "followed":
      return followed(record, event);
    case "outcomeSeen":
      return outcomeSeen(record, event);
    default:
      return assertNever(event);
  }
}

const NOTHING_COUNTED: JobRecord["counts"] = { free: 0, blocked: 0, refused: 0 };
/** The producer chose it, and a subject may be 4 KiB long. */
const TYPE_BYTES = 256;

/** The highest attempt number that the record knows of, made or awaited. */
export function lastAttempt(record: Pick<JobRecord, "attempt" | "next">): number {
  return Math.max(record.attempt, record.next?.attempt ?? 0);
}

/** Whether the attempt can only be explained by a record that is older than it (restored data). A job that ended goes on in another life only. */
export function isAhead({ attempt, life }: { readonly attempt: number; readonly life: number }, record: JobRecord): boolean {
  const sameLife = life === record.life && !isTerminal(record.state);
  return (life > record.life || sameLife) && attempt > lastAttempt(record);
}

export function awaits(record: JobRecord, { attempt, life }: { readonly attempt: number; readonly life: number }): boolean {
  return record.state === "retrying" && record.next?.attempt === attempt && record.life === life;
}

function firstSight(record: JobRecord | undefined, event: FirstSight): Transition {
  if (record?.job?.uid === event.job.uid && record.attempt === event.attempt) return already(record);
  if (record !== undefined && !awaits(record, event) && !isAhead(event, record)) {
    return refused(
      `attempt ${event.attempt} of Job ${event.job.uid} is not what the record awaits (${record.state}, attempt ${record.attempt})`,
    );
  }
  const { next, reason: _reason, ...known } = lifeOf(record, event);
  const attempt: AttemptRecord = {
    n: event.attempt,
    uid: event.job.uid,
    source: sourceKey(event.source),
    ...memoryOf(next?.attempt === event.attempt ? next.memory : undefined),
  };
  return moved({
    ...known,
    state: "running",
    attempt: event.attempt,
    source: event.source,
    job: event.job,
    attempts: [...known.attempts, attempt].slice(-ATTEMPTS_KEPT),
    updatedAt: event.at,
  });
}

function delayed(record: JobRecord | undefined, event: Delayed): Transition {
  const awaited = record !== undefined && awaits(record, event);
  if (record !== undefined && !awaited && !isAhead(event, record)) {
    return refused(`the record does not await attempt ${event.attempt} (${record.state}, attempt ${record.attempt})`);
  }
  const isSame = (source: MessageSource | undefined): boolean => source !== undefined && sameSource(source, event.source);
  if (awaited && record.next?.notBefore === event.notBefore && isSame(record.source)) return already(record);
  const known = lifeOf(record, event);
  return moved({
    ...known,
    state: "retrying",
    source: event.source,
    counts: { ...known.counts, refused: event.refused },
    next: { attempt: event.attempt, notBefore: event.notBefore, ...memoryOf(event.memory) },
    reason: cut(event.why, 500),
    updatedAt: event.at,
  });
}

function refusedForGood(record: JobRecord | undefined, event: Refused): Transition {
  if (record === undefined) return refused("there is no record");
  if (record.state === "dead" && record.attempt === event.attempt && record.life === event.life && record.job === undefined)
    return already(record);
  if (!awaits(record, event)) return refused(`the record does not await attempt ${event.attempt} (${record.state})`);
  const { next, job: _job, ...rest } = record;
  const attempt: AttemptRecord = {
    n: event.attempt,
    outcome: "failed",
    class: "refused",
    endedAt: event.at,
    reason: cut(event.reason, 300),
    ...memoryOf(next?.memory),
  };
  return moved({
    ...rest,
    state: "dead",
    attempt: event.attempt,
    source: event.source,
    attempts: [...record.attempts, attempt].slice(-ATTEMPTS_KEPT),
    reason: cut(event.reason, 500),
    updatedAt: event.at,
  });
}

function cancelled(record: JobRecord | undefined, event: Cancelled): Transition {
  const { id, hash, queue, at } = event;
  const reason = cut(event.reason, 500);
  if (record === undefined) {
    const tombstone = { id, hash, queue, type: "", messageHash: "", attempt: 0, life: 1, budgetFrom: 1 };
    const empty = { attempts: [], counts: NOTHING_COUNTED, createdAt: at, updatedAt: at };
    return moved({ ...tombstone, ...empty, state: "cancelled", reason });
  }
  switch (record.state) {
    case "cancelled":
      return already(record);
    case "retrying": {
      // The awaited number is used up, so that another life does not begin with it.
      const { next, job: _job, ...rest } = record;
      const attempt = next?.attempt ?? record.attempt;
      const ended: AttemptRecord = {
        n: attempt,
        outcome: "cancelled",
        class: "cancelled",
        endedAt: at,
        reason: cut(event.reason, 300),
      };
      return moved({
        ...rest,
        state: "cancelled",
        attempt,
        attempts: [...record.attempts, ended].slice(-ATTEMPTS_KEPT),
        reason,
        updatedAt: at,
      });
    }
    case "running":
      return refused("it runs: its attempt has to be stopped first");
    case "succeeded":
    case "dead":
      return refused(`it has ended: ${record.state}`);
    default:
      return assertNever(record.state);
  }
}

function adopted(record: JobRecord | undefined, event: Adopted): Transition {
  if (record?.state !== "cancelled") return refused("only a cancelled record takes a message");
  if (record.messageHash !== "") return already(record);
  const { messageHash, source, at } = event;
  return moved({ ...record, type: cut(event.type, TYPE_BYTES), messageHash, source, ...tracedBy(event), updatedAt: at });
}

function startedAgain(record: JobRecord | undefined, { reason, at }: StartedAgain): Transition {
  if (record === undefined) return refused("there is no record");
  // Asked again before the first attempt of the other life was made: whatever a crash has left undone is done.
  if (record.state === "retrying" && record.formerLifeFrom !== undefined && record.attempt < record.budgetFrom)
    return already(record);
  if (!isTerminal(record.state)) return refused(`it has not ended: ${record.state}`);
  if (record.messageHash === "") return refused("it was cancelled before any message of it was pulled: there is nothing to run");
  // Its message says again in which trace it belongs.
  const { result: _result, traceparent: _traceparent, ...rest } = record;
  // A tombstone has no attempt, but a Job of attempt 1 may have been made before anybody read it.
  const attempt = Math.max(lastAttempt(record), 1) + 1;
  return moved({
    ...rest,
    state: "retrying",
    life: record.life + 1,
    budgetFrom: attempt,
    formerLifeFrom: record.budgetFrom,
    counts: NOTHING_COUNTED,
    next: { attempt, notBefore: at },
    reason: cut(reason, 500),
    updatedAt: at,
  });
}

function followed(record: JobRecord | undefined, event: Followed): Transition {
  if (record !== undefined && awaits(record, event)) return already(record);
  if (record !== undefined && !isAhead(event, record)) return refused("the message is not ahead of the record");
  const { source: _awaited, ...begun } = lifeOf(undefined, event);
  return moved({
    // The source stays that of the attempt before: it is removed when that one is settled, and the awaited message must not be.
    ...(record === undefined ? begun : lifeOf(record, event)),
    state: "retrying",
    next: { attempt: event.attempt, notBefore: event.at, ...memoryOf(event.memory) },
    reason: "its retry was ahead of its record, which follows",
    updatedAt: event.at,
  });
}

function outcomeSeen(record: JobRecord | undefined, { attempt, state, job: seen, at }: OutcomeSeen): Transition {
  if (record === undefined) return refused("there is no record");
  if (isTerminal(record.state)) return already(record);
  if (attempt < record.attempt) return refused(`attempt ${attempt} is older than the record's`);
  const { next: _next, job, ...rest } = record;
  const made = attempt === record.attempt ? (job ?? seen) : seen;
  const own = made === undefined ? {} : { job: made };
  return moved({ ...rest, ...own, state, attempt, reason: "its end was read from its events", updatedAt: at });
}

/** The record as far as this attempt's life goes: a new one, the same, or one that begins another life. */
function lifeOf(record: JobRecord | undefined, event: AttemptOf & { readonly at: string }): JobRecord {
  const { id, hash, queue, messageHash, source, attempt, life, at } = event;
  const type = cut(event.type, TYPE_BYTES);
  const begun = { life, budgetFrom: attempt, counts: NOTHING_COUNTED };
  if (record === undefined) {
    const empty = { attempt: attempt - 1, attempts: [], createdAt: at, updatedAt: at };
    return { id, hash, queue, type, messageHash, source, ...tracedBy(event), ...begun, ...empty, state: "retrying" };
  }
  if (life === record.life) return { ...record, ...tracedBy(event) };
  const { result: _result, traceparent: _traceparent, ...rest } = record;
  const identity = record.messageHash === "" ? { type, messageHash } : {};
  return { ...rest, ...identity, ...tracedBy(event), ...begun, formerLifeFrom: record.budgetFrom };
}
