import { describe, expect, it } from "vitest";
import { queueConfig } from "./queue-config.ts";
import { type JobRecord, jobRecord } from "./record.ts";
import type { AttemptEnded, Cancelled, Delayed, FirstSight, Followed, RecordEvent, Refused } from "./record-event.ts";
import type { RetryPolicy } from "./retry.ts";
import { JOB, SOURCE } from "./testing/records.ts";
import { lastAttempt, transition } from "./transition.ts";
import type { Ended } from "./verdict.ts";

const at = "2026-01-01T00:05:00.000Z";
const policy: RetryPolicy = {
  config: queueConfig.parse({}).retry,
  attempts: undefined,
  final: undefined,
  blocked: false,
  random: 0.5,
};
const success: Ended = {
  kind: "succeeded",
  endedAt: at,
  exitCode: 0,
  node: "node0",
  startedAt: "2026-01-01T00:01:00Z",
  result: "42",
};
const failure: Ended = { kind: "failed", class: "exit", reason: "container main exited with code 3", endedAt: at, exitCode: 3 };
const hopeless: Ended = { kind: "failed", class: "image", reason: "not found", endedAt: at };
const stopped: Ended = { kind: "cancelled", reason: "cancelled by ann", endedAt: at };

const about = { id: "a", hash: "h".repeat(20), queue: "default", type: "hello", messageHash: "m1", source: SOURCE };
const sight = (attempt: number, life = 1, uid = `uid-${attempt}`, rest: Partial<FirstSight> = {}): FirstSight => ({
  kind: "firstSight",
  ...about,
  attempt,
  life,
  job: { ...JOB, uid },
  at,
  ...rest,
});
const ended = (verdict: Ended, rest: Partial<AttemptEnded> = {}): AttemptEnded => ({
  kind: "attemptEnded",
  attempt: 1,
  uid: "uid-1",
  verdict,
  policy,
  at,
  ...rest,
});
const delayed = (attempt: number, rest: Partial<Delayed> = {}): Delayed => ({
  kind: "delayed",
  ...about,
  attempt,
  life: 1,
  memory: undefined,
  notBefore: "2026-01-01T09:00:00.000Z",
  why: "the cluster says no",
  refused: 0,
  at,
  ...rest,
});
const followed = (attempt: number, rest: Partial<Followed> = {}): Followed => ({
  kind: "followed",
  ...about,
  attempt,
  life: 1,
  memory: undefined,
  at,
  ...rest,
});
const retrySource = { stream: "RETRY", seq: 9, storedAt: "1758000000000000009" };
const refusal: Refused = { kind: "refused", attempt: 2, life: 1, source: retrySource, reason: "template gone", at };
const cancel: Cancelled = { kind: "cancelled", id: "a", hash: about.hash, queue: "default", reason: "cancelled by ann", at };
const adoption: RecordEvent = { kind: "adopted", type: "hello", messageHash: "m1", source: SOURCE, at };
const rerun: RecordEvent = { kind: "startedAgain", reason: "run again by ann", at };

function recordAfter(...events: readonly RecordEvent[]): JobRecord {
  let record: JobRecord | undefined;
  for (const event of events) {
    const moved = transition(record, event);
    if (moved.kind === "refused") throw new Error(moved.why);
    record = moved.record;
  }
  if (record === undefined) throw new Error("no event");
  return record;
}

/** One record for each way in which a job can stand, made by the events that lead there. */
const RECORDS: Readonly<Record<string, JobRecord | undefined>> = {
  none: undefined,
  tombstone: recordAfter(cancel),
  adopted: recordAfter(cancel, adoption),
  asleep: recordAfter(delayed(1)),
  running: recordAfter(sight(1)),
  retrying: recordAfter(sight(1), ended(failure)),
  succeeded: recordAfter(sight(1), ended(success)),
  dead: recordAfter(sight(1), ended(hopeless)),
  cancelled: recordAfter(sight(1), ended(stopped)),
  refused: recordAfter(sight(1), ended(failure), refusal),
  again: recordAfter(sight(1), ended(success), rerun),
};

const EVENTS: Readonly<Record<string, RecordEvent>> = {
  "Job of attempt 1": sight(1),
  "Job of attempt 2": sight(2),
  "second Job of attempt 1": sight(1, 1, "uid-x"),
  "Job of attempt 2, life 2": sight(2, 2),
  "Job of attempt 9, life 2": sight(9, 2),
  success: ended(success),
  failure: ended(failure),
  "hopeless failure": ended(hopeless),
  stopped: ended(stopped),
  "success of another Job": ended(success, { uid: "uid-x" }),
  "success of attempt 2": ended(success, { attempt: 2 }),
  "delay of attempt 2": delayed(2),
  "refusal of attempt 2": refusal,
  cancel: cancel,
  adoption: adoption,
  rerun: rerun,
  "RETRY is at attempt 2": followed(2),
};

/** To what state each event moves each record; `-` = refused, `=` = it is there already. */
const TABLE = `
                          none       tombstone  adopted    asleep     running    retrying   succeeded  dead       cancelled  refused    again
Job of attempt 1          running    -          -          running    =          =          =          =          =          -          =
Job of attempt 2          running    -          -          running    running    running    -          -          -          -          -
second Job of attempt 1   running    -          -          running    -          -          -          -          -          -          -
Job of attempt 2, life 2  running    running    running    running    running    -          running    running    running    -          running
Job of attempt 9, life 2  running    running    running    running    running    running    running    running    running    running    running
success                   -          -          -          -          succeeded  =          =          =          =          -          =
failure                   -          -          -          -          retrying   =          =          =          =          -          =
hopeless failure          -          -          -          -          dead       =          =          =          =          -          =
stopped                   -          -          -          -          cancelled  =          =          =          =          -          =
success of another Job    -          -          -          -          -          -          -          -          -          -          -
success of attempt 2      -          -          -          -          -          -          -          -          -          -          -
delay of attempt 2        retrying   -          -          retrying   retrying   retrying   -          -          -          -          -
refusal of attempt 2      -          -          -          -          -          dead       -          -          -          =          -
cancel                    cancelled  =          =          cancelled  -          cancelled  -          -          =          -          cancelled
adoption                  -          cancelled  =          -          -          -          -          -          =          -          -
rerun                     -          -          retrying   -          -          -          retrying   retrying   retrying   retrying   =
RETRY is at attempt 2     retrying   -          -          retrying   retrying   =          -          -          -          -          -
`;

function rowsOf(table: string): readonly (readonly [event: string, record: string, outcome: string])[] {
  const [head = "", ...rows] = table.split("\n").filter((line) => line.trim() !== "");
  const columns = head.trim().split(/\s+/);
  return rows.flatMap((row) => {
    const [event = "", ...outcomes] = row.split(/\s{2,}/);
    return columns.map((record, column) => [event, record, outcomes[column] ?? ""] as const);
  });
}

describe("transition: every event on every record", () => {
  it("the table names each of them", () => {
    expect(rowsOf(TABLE)).toHaveLength(Object.keys(EVENTS).length * Object.keys(RECORDS).length);
  });

  it.each(rowsOf(TABLE))("%s, %s: %s", (event, name, outcome) => {
    const record = RECORDS[name];
    const given = EVENTS[event];
    if (given === undefined || !(name in RECORDS)) throw new Error("the table names what does not exist");
    const moved = transition(record, given);
    if (outcome === "-") return expect(moved).toEqual({ kind: "refused", why: expect.stringMatching(/./) });
    if (outcome === "=") return expect(moved).toEqual({ kind: "already", record });
    expect(moved).toMatchObject({ kind: "moved", record: { state: outcome } });
  });
});

describe("F1: the first sight of a Job", () => {
  it("of an unknown id begins life 1", () => {
    expect(recordAfter(sight(1))).toMatchObject({ attempt: 1, life: 1, budgetFrom: 1, job: JOB, source: SOURCE, createdAt: at });
  });

  it("goes on with the record: its message is the source, its number the attempt, its memory what was awaited", () => {
    const waiting = { ...recordAfter(sight(1), ended(failure)), next: { attempt: 2, notBefore: at, memory: { main: "48Mi" } } };
    const moved = transition(waiting, sight(2, 1, "uid-2", { source: retrySource }));
    expect(moved).toMatchObject({
      record: { attempt: 2, source: retrySource, attempts: [{ n: 1 }, { n: 2, uid: "uid-2", memory: { main: "48Mi" } }] },
    });
    expect(moved.kind === "moved" && moved.record).not.toHaveProperty("next");
    expect(moved.kind === "moved" && moved.record).not.toHaveProperty("reason");
  });

  it("F5: of a Job ahead of its record begins the life that it is of, without what the former one left", () => {
    const moved = transition(recordAfter(sight(1), ended(success)), sight(4, 2));
    expect(moved).toMatchObject({ record: { state: "running", attempt: 4, life: 2, budgetFrom: 4, formerLifeFrom: 1 } });
    expect(moved.kind === "moved" && moved.record).not.toHaveProperty("result");
  });

  it("F5: of a Job ahead of a tombstone tells the record what it is about", () => {
    expect(transition(recordAfter(cancel), sight(1, 2))).toMatchObject({ record: { messageHash: "m1", type: "hello", life: 2 } });
  });

  it("keeps the last ten attempts", () => {
    const events = Array.from({ length: 12 }, (_, index) => index + 1).flatMap((n) => [
      sight(n),
      ended(failure, { attempt: n, uid: `uid-${n}`, policy: { ...policy, attempts: 100 } }),
    ]);
    expect(recordAfter(...events).attempts.map(({ n }) => n)).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });
});

describe("J1: the end of an attempt", () => {
  it("is kept with the attempt", () => {
    expect(recordAfter(sight(1), ended(success))).toMatchObject({
      result: "42",
      attempts: [{ n: 1, outcome: "succeeded", exitCode: 0, node: "node0", startedAt: "2026-01-01T00:01:00Z", endedAt: at }],
    });
    expect(recordAfter(sight(1), ended(failure))).toMatchObject({
      attempts: [{ outcome: "failed", class: "exit", exitCode: 3, reason: "container main exited with code 3" }],
      next: { attempt: 2, notBefore: "2026-01-01T00:05:10.000Z" },
    });
    expect(recordAfter(sight(1), ended(stopped))).toMatchObject({
      reason: "cancelled by ann",
      attempts: [{ outcome: "cancelled", class: "cancelled" }],
    });
  });

  it("an end without a time is when it was seen: the record can be read again", () => {
    const timeless = recordAfter(sight(1), ended({ ...failure, endedAt: "", startedAt: "" }));
    expect(jobRecord.parse(timeless)).toEqual(timeless);
    expect(timeless.attempts).toMatchObject([{ endedAt: at }]);
    expect(timeless.attempts[0]).not.toHaveProperty("startedAt");
  });

  it("a dead record says why it failed and why nothing more is tried", () => {
    const last = ended(failure, { policy: { ...policy, attempts: 1 } });
    expect(recordAfter(sight(1), last).reason).toBe("container main exited with code 3; its only attempt");
    expect(recordAfter(sight(1), ended(hopeless)).reason).toBe("not found");
  });

  it("nobody's fault is counted as free, and not at all while the queue is blocked", () => {
    const evicted: Ended = { kind: "failed", class: "evicted", reason: "drained", endedAt: at };
    expect(recordAfter(sight(1), ended(evicted)).counts).toEqual({ free: 1, blocked: 0, refused: 0 });
    const blocked = { ...policy, blocked: true };
    expect(recordAfter(sight(1), ended(evicted, { policy: blocked })).counts).toEqual({ free: 0, blocked: 1, refused: 0 });
    expect(recordAfter(sight(1), ended(failure, { policy: blocked })).counts).toEqual({ free: 0, blocked: 0, refused: 0 });
  });
});

describe("D8, D10: an attempt that is put to sleep", () => {
  it("a fresh message sleeps as attempt 1, of which no Job exists", () => {
    const record = recordAfter(delayed(1));
    expect(record).toMatchObject({ attempt: 0, life: 1, budgetFrom: 1, attempts: [], source: SOURCE, next: { attempt: 1 } });
    expect(record).not.toHaveProperty("job");
  });

  it("a due retry sleeps on: its own message is the source, and what it was refused and is to get is kept", () => {
    const again = delayed(2, { source: retrySource, memory: { main: "48Mi" }, refused: 2 });
    const record = recordAfter(sight(1), ended(failure), again);
    expect(record).toMatchObject({
      attempt: 1,
      source: retrySource,
      counts: { refused: 2 },
      next: { attempt: 2, notBefore: "2026-01-01T09:00:00.000Z", memory: { main: "48Mi" } },
    });
    expect(transition(record, again)).toEqual({ kind: "already", record });
  });
});

describe("P1: a cancel", () => {
  it("uses the awaited number up, so that a rerun begins with another", () => {
    const record = recordAfter(sight(1), ended(failure), cancel);
    expect(record).toMatchObject({
      attempt: 2,
      reason: "cancelled by ann",
      attempts: [{ n: 1 }, { n: 2, outcome: "cancelled" }],
    });
    expect(record).not.toHaveProperty("job");
    expect(recordAfter(sight(1), ended(failure), cancel, rerun)).toMatchObject({ life: 2, budgetFrom: 3, next: { attempt: 3 } });
  });

  it("a tombstone takes the identity of the first message", () => {
    expect(recordAfter(cancel)).toMatchObject({ attempt: 0, messageHash: "", type: "" });
    expect(recordAfter(cancel, adoption)).toMatchObject({ state: "cancelled", messageHash: "m1", type: "hello", source: SOURCE });
    expect(recordAfter(cancel, adoption, rerun)).toMatchObject({ life: 2, next: { attempt: 2 } });
  });
});

describe("D7: an attempt that was refused for good", () => {
  it("is an attempt without a Job, from the message that was refused", () => {
    const record = recordAfter(sight(1), ended(failure), refusal);
    expect(record).toMatchObject({
      attempt: 2,
      source: retrySource,
      reason: "template gone",
      attempts: [{ n: 1 }, { n: 2, class: "refused", outcome: "failed" }],
    });
    expect(record).not.toHaveProperty("job");
    expect(record).not.toHaveProperty("next");
  });
});

describe("P2, P3: another life", () => {
  it("has a budget of its own and no result of the former one", () => {
    const used = recordAfter(sight(1), ended({ kind: "failed", class: "lost", reason: "", endedAt: at }), sight(2));
    const done = transition(used, ended(success, { attempt: 2, uid: "uid-2" }));
    const again = transition(done.kind === "moved" ? done.record : undefined, rerun);
    expect(again).toMatchObject({
      record: {
        life: 2,
        budgetFrom: 3,
        formerLifeFrom: 1,
        counts: { free: 0, blocked: 0, refused: 0 },
        next: { attempt: 3, notBefore: at },
      },
    });
    expect(again.kind === "moved" && again.record).not.toHaveProperty("result");
  });

  it("is asked for once: when its first attempt exists it has to end first", () => {
    const again = recordAfter(sight(1), ended(success), rerun);
    expect(transition(again, rerun).kind).toBe("already");
    const failed = recordAfter(sight(1), ended(success), rerun, sight(2, 2), ended(failure, { attempt: 2, uid: "uid-2" }));
    expect(transition(failed, rerun)).toEqual({ kind: "refused", why: "it has not ended: retrying" });
  });
});

describe("D4: a record that follows a RETRY message", () => {
  it("awaits it, and still names the message of the attempt before as its source", () => {
    const memory = { main: "72Mi" };
    expect(recordAfter(sight(1), followed(3, { source: retrySource, memory }))).toMatchObject({
      state: "retrying",
      attempt: 1,
      source: SOURCE,
      next: { attempt: 3, memory, notBefore: at },
    });
  });

  it("names no source where there was no record: the awaited message must not be removed", () => {
    const record = recordAfter(followed(3, { source: retrySource }));
    expect(record).not.toHaveProperty("source");
    expect(lastAttempt(record)).toBe(3);
  });
});
