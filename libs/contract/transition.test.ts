import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { JOB_STATES, type JobRecord, type JobState, jobRecord } from "./record.ts";
import { JOB, recordIn, SOURCE } from "./testing/records.ts";
import { type AttemptEnded, type FirstSight, transition } from "./transition.ts";
import type { Ended } from "./verdict.ts";

const at = "2026-01-01T00:05:00Z";
const success: Ended = {
  kind: "succeeded",
  endedAt: at,
  exitCode: 0,
  node: "node0",
  startedAt: "2026-01-01T00:01:00Z",
  result: "42",
};
const failure: Ended = { kind: "failed", class: "oom", reason: "out of memory", endedAt: at, exitCode: 137 };

const sight = (rest: Partial<FirstSight> = {}): FirstSight => ({
  kind: "firstSight",
  id: "a",
  hash: "h".repeat(20),
  queue: "default",
  type: "hello",
  messageHash: "m1",
  source: SOURCE,
  attempt: 1,
  job: JOB,
  at,
  ...rest,
});
const ended = (rest: Partial<AttemptEnded> = {}): AttemptEnded => ({
  kind: "attemptEnded",
  attempt: 1,
  uid: JOB.uid,
  verdict: success,
  at,
  ...rest,
});
const awaiting = (attempt: number): Partial<JobRecord> => ({ next: { attempt, notBefore: at } });

describe("transition: a first sight", () => {
  it("F1: of an unknown id makes a running record of life 1 that its schema accepts", () => {
    const moved = transition(undefined, sight());
    expect(moved).toMatchObject({ kind: "moved", record: { state: "running", attempt: 1, life: 1, budgetFrom: 1, job: JOB } });
    expect(moved.kind === "moved" && jobRecord.parse(moved.record)).toEqual(moved.kind === "moved" && moved.record);
  });

  it("F1: of the awaited attempt goes on with the record", () => {
    const record = recordIn("retrying", awaiting(2));
    const moved = transition(record, sight({ attempt: 2, job: { ...JOB, uid: "uid-2" }, source: { ...SOURCE, seq: 9 } }));
    expect(moved).toMatchObject({
      kind: "moved",
      record: {
        state: "running",
        attempt: 2,
        createdAt: record.createdAt,
        source: { seq: 9 },
        attempts: [{ n: 1 }, { n: 2, uid: "uid-2" }],
      },
    });
    expect(moved.kind === "moved" && moved.record.next).toBeUndefined();
  });

  it.each(JOB_STATES)("I1: of the Job that a %s record names changes nothing", (state) => {
    const record = recordIn(state, awaiting(2));
    expect(transition(record, sight())).toEqual({ kind: "already", record });
  });

  it.each(JOB_STATES)("I1: of another Job is refused by a %s record that does not await it", (state) => {
    for (const attempt of [1, 3]) {
      const moved = transition(recordIn(state, awaiting(2)), sight({ attempt, job: { ...JOB, uid: "uid-2" } }));
      expect(moved.kind).toBe("refused");
    }
  });

  it("keeps the last ten attempts", () => {
    const attempts = Array.from({ length: 10 }, (_, index) => ({ n: index + 1, uid: String(index) }));
    const moved = transition(
      recordIn("retrying", { attempts, attempt: 10, ...awaiting(11) }),
      sight({ attempt: 11, job: { ...JOB, uid: "x" } }),
    );
    expect(moved).toMatchObject({ kind: "moved", record: { attempts: { length: 10, 9: { n: 11 } } } });
  });
});

describe("transition: the end of an attempt", () => {
  it.each([
    ["success", success, { state: "succeeded", result: "42", attempts: [{ outcome: "succeeded", exitCode: 0, node: "node0" }] }],
    [
      "failure",
      failure,
      { state: "dead", reason: "out of memory", attempts: [{ outcome: "failed", class: "oom", exitCode: 137 }] },
    ],
  ])("a running record takes a %s", (_what, verdict, expected) => {
    const moved = transition(recordIn("running"), ended({ verdict }));
    expect(moved).toMatchObject({ kind: "moved", record: expected });
    expect(() => moved.kind === "moved" && jobRecord.parse(moved.record)).not.toThrow();
  });

  const terminal: readonly JobState[] = ["succeeded", "dead", "cancelled"];
  it.each(terminal)("I7: a %s record stays what it is, whatever the verdict", (state) => {
    const record = recordIn(state);
    for (const verdict of [success, failure]) expect(transition(record, ended({ verdict }))).toEqual({ kind: "already", record });
  });

  it("a retrying record refuses it", () => {
    expect(transition(recordIn("retrying"), ended()).kind).toBe("refused");
  });

  it("no record refuses it", () => {
    expect(transition(undefined, ended()).kind).toBe("refused");
  });

  it.each(JOB_STATES)("I5: a %s record refuses the verdict of another uid or attempt", (state) => {
    const record = recordIn(state);
    expect(transition(record, ended({ uid: "uid-2" })).kind).toBe("refused");
    expect(transition(record, ended({ attempt: 2 })).kind).toBe("refused");
  });

  it("a record stays within its schema, however long the texts", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 5_000 }), fc.boolean(), (text, good) => {
        const verdict: Ended = good ? { ...success, result: text } : { ...failure, reason: text };
        const moved = transition(recordIn("running"), ended({ verdict }));
        expect(moved.kind === "moved" && jobRecord.safeParse(moved.record).success).toBe(true);
      }),
    );
  });
});

describe("transition: any sequence of events", () => {
  it("I1, I7: one recorded Job per attempt and one outcome, for ever", () => {
    const events = fc.oneof(
      fc
        .record({ attempt: fc.integer({ min: 1, max: 2 }), uid: fc.constantFrom("uid-1", "uid-2") })
        .map(({ attempt, uid }) => sight({ attempt, job: { ...JOB, uid } })),
      fc
        .record({
          attempt: fc.integer({ min: 1, max: 2 }),
          uid: fc.constantFrom("uid-1", "uid-2"),
          verdict: fc.constantFrom(success, failure),
        })
        .map((facts) => ended(facts)),
    );
    fc.assert(
      fc.property(fc.array(events, { maxLength: 12 }), (sequence) => {
        let record: JobRecord | undefined;
        for (const event of sequence) {
          const moved = transition(record, event);
          if (moved.kind === "refused") continue;
          if (moved.kind === "already") expect(moved.record).toBe(record);
          if (record !== undefined) expect(moved.record.job).toEqual(record.job);
          if (record?.state === "succeeded" || record?.state === "dead") expect(moved.record.state).toBe(record.state);
          record = moved.record;
        }
      }),
    );
  });
});
