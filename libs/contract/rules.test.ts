import { describe, expect, it } from "vitest";
import { dispatchRule } from "./dispatch-rule.ts";
import { firstSightRule, type SeenJob } from "./first-sight.ts";
import { JOB_STATES, type JobRecord, type JobState } from "./record.ts";
import { JOB, recordIn } from "./testing/records.ts";

const fresh = { messageHash: "m1", attempt: 1, life: 1 };
const next = (attempt: number): Partial<JobRecord> => ({ next: { attempt, notBefore: "2026-01-01T00:00:00Z" } });

describe("the dispatcher's decision", () => {
  it("D4: nothing is known of the id", () => {
    expect(dispatchRule(fresh, undefined)).toEqual({ rule: "D4", attempt: 1 });
    expect(dispatchRule({ ...fresh, attempt: 3 }, undefined)).toEqual({ rule: "D4", attempt: 3 });
  });

  it.each(JOB_STATES)("D3: another body is a conflict when the record is %s", (state) => {
    expect(dispatchRule({ ...fresh, messageHash: "m2" }, recordIn(state, next(1)))).toEqual({ rule: "D3" });
  });

  const table: readonly [string, JobState, Partial<JobRecord>, Partial<typeof fresh>, object][] = [
    ["D5: running at this attempt", "running", {}, {}, { rule: "D5", job: JOB }],
    ["D6: running at a newer attempt", "running", { attempt: 2 }, {}, { rule: "D6" }],
    ["D4: retrying, this attempt and life awaited", "retrying", next(2), { attempt: 2 }, { rule: "D4", attempt: 2 }],
    ["D6: retrying, another attempt awaited", "retrying", next(2), {}, { rule: "D6" }],
    ["D6: retrying, another life", "retrying", { ...next(2), life: 2 }, { attempt: 2 }, { rule: "D6" }],
    ["D6: succeeded", "succeeded", {}, {}, { rule: "D6" }],
    ["D6: dead", "dead", {}, {}, { rule: "D6" }],
    ["D6: cancelled", "cancelled", {}, {}, { rule: "D6" }],
  ];
  it.each(table)("%s", (_what, state, rest, message, expected) => {
    expect(dispatchRule({ ...fresh, ...message }, recordIn(state, rest))).toEqual(expected);
  });
});

describe("the monitor's first sight", () => {
  const own: Omit<SeenJob, "finished"> = { uid: JOB.uid, attempt: 1, messageHash: "m1" };
  const other: Omit<SeenJob, "finished"> = { uid: "uid-2", attempt: 1, messageHash: "m1" };
  const table: readonly [string, typeof own, boolean, JobRecord | undefined, string][] = [
    ["F1: no record, live", own, false, undefined, "F1"],
    ["F1: no record, finished", own, true, undefined, "F1"],
    ["known: the record runs this Job", own, false, recordIn("running"), "known"],
    ["known: the record runs this finished Job", own, true, recordIn("running"), "known"],
    ["F2: succeeded, same uid", own, true, recordIn("succeeded"), "F2"],
    ["F2: dead, same uid, still live", own, false, recordIn("dead"), "F2"],
    ["F2: retrying, same uid", own, true, recordIn("retrying", next(2)), "F2"],
    ["F1: retrying, awaited", { ...other, attempt: 2 }, false, recordIn("retrying", next(2)), "F1"],
    [
      "F4: retrying, awaited, other body",
      { ...other, attempt: 2, messageHash: "m2" },
      false,
      recordIn("retrying", next(2)),
      "F4",
    ],
    ["F3: finished, older attempt", other, true, recordIn("running", { attempt: 2 }), "F3"],
    ["F4: live, older attempt", other, false, recordIn("running", { attempt: 2 }), "F4"],
    ["F4: live, another uid at this attempt", other, false, recordIn("running"), "F4"],
    ["F4: live, foreign terminal record", other, false, recordIn("succeeded"), "F4"],
    ["F3: finished, foreign terminal record", other, true, recordIn("dead"), "F3"],
  ];
  it.each(table)("%s", (_what, job, finished, record, expected) => {
    expect(firstSightRule({ ...job, finished }, record)).toBe(expected);
  });
});
