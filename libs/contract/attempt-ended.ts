import { assertNever } from "./errors.ts";
import { type AttemptRecord, isTimestamp, type JobRecord, memoryOf } from "./record.ts";
import type { AttemptEnded } from "./record-event.ts";
import { cut } from "./record-size.ts";
import { retryDecision } from "./retry.ts";
import { already, later, moved, refused, type Transition } from "./transition-result.ts";
import type { Failed } from "./verdict.ts";

/** The verdict on the recorded attempt: running → succeeded | retrying | dead | cancelled. */
export function attemptEnded(record: JobRecord | undefined, event: AttemptEnded): Transition {
  if (record === undefined) return refused("there is no record");
  if (record.job?.uid !== event.uid || record.attempt !== event.attempt) {
    return refused(
      `the verdict is about Job ${event.uid}, attempt ${event.attempt}; the record is about ${record.job?.uid}, ${record.attempt}`,
    );
  }
  if (record.state !== "running") return already(record);
  const { verdict, at } = event;
  const ended: JobRecord = {
    ...record,
    attempts: record.attempts.map((attempt) => (attempt.n === event.attempt ? { ...attempt, ...endOf(event) } : attempt)),
    updatedAt: at,
  };
  switch (verdict.kind) {
    case "succeeded":
      return moved({
        ...ended,
        state: "succeeded",
        ...(verdict.result === undefined ? {} : { result: cut(verdict.result, 1024) }),
      });
    case "cancelled":
      return moved({ ...ended, state: "cancelled", reason: cut(verdict.reason, 500) });
    case "failed":
      return failed(ended, verdict, event);
    default:
      return assertNever(verdict);
  }
}

function failed(ended: JobRecord, verdict: Failed, { policy, at }: AttemptEnded): Transition {
  const decision = retryDecision(ended, verdict, policy);
  switch (decision.kind) {
    case "dead":
      return moved({
        ...ended,
        state: "dead",
        reason: cut([verdict.reason, decision.why].filter((text) => text !== "").join("; "), 500),
      });
    case "retry": {
      const { free, blocked } = ended.counts;
      const counts = policy.blocked ? { blocked: blocked + 1 } : { free: free + 1 };
      return moved({
        ...ended,
        state: "retrying",
        counts: decision.free ? { ...ended.counts, ...counts } : ended.counts,
        next: { attempt: ended.attempt + 1, notBefore: later(at, decision.delayMs), ...memoryOf(decision.memory) },
        reason: cut(verdict.reason, 500),
      });
    }
    default:
      return assertNever(decision);
  }
}

function endOf({ verdict, at }: AttemptEnded): Partial<AttemptRecord> {
  return {
    outcome: verdict.kind,
    // A condition may come without its time; what is no time would make the record unreadable for ever.
    endedAt: isTimestamp(verdict.endedAt) ? verdict.endedAt : at,
    ...(verdict.node === undefined ? {} : { node: verdict.node }),
    ...(verdict.startedAt !== undefined && isTimestamp(verdict.startedAt) ? { startedAt: verdict.startedAt } : {}),
    ...(verdict.exitCode === undefined ? {} : { exitCode: verdict.exitCode }),
    ...(verdict.kind === "succeeded" ? {} : { class: verdict.kind === "failed" ? verdict.class : verdict.kind }),
    ...(verdict.kind === "succeeded" ? {} : { reason: cut(verdict.reason, 300) }),
  };
}
