import { describe, expect, it } from "vitest";
import { dispatchRule } from "./dispatch-rule.ts";
import { firstSightRule, type SeenJob } from "./first-sight.ts";
import { JOB_STATES, type JobRecord, type JobState } from "./record.ts";
import { JOB, recordIn } from "./testing/records.ts";

const fresh = { messageHash: "m1", attempt: 1, life: 1 };
const next = (attempt: number): Partial<JobRecord> => ({ next: { attempt, notBefore: "2026-01-01T00:00:00Z" } });
const { job: _none, ...untried } = recordIn("cancelled", { attempt: 0, messageHash: "", attempts: [] });
const tombstone: JobRecord = untried;

describe("the dispatcher's decision", () => {
  it("D4: nothing is known of the id", () => {
    expect(dispatchRule(fresh, undefined)).toEqual({ rule: "D4", follow: false });
    expect(dispatchRule({ ...fresh, attempt: 3, life: 2 }, undefined)).toEqual({ rule: "D4", follow: false });
  });

  it.each(JOB_STATES)("D3: another body is a conflict when the record is %s, whatever its attempt and life", (state) => {
    for (const ahead of [{}, { attempt: 9 }, { attempt: 9, life: 9 }]) {
      expect(dispatchRule({ ...fresh, ...ahead, messageHash: "m2" }, recordIn(state, next(1)))).toEqual({ rule: "D3" });
    }
  });

  const D4 = { rule: "D4", follow: false };
  const follow = { rule: "D4", follow: true };
  const D5 = { rule: "D5", job: JOB };
  const D6 = { rule: "D6" };
  const table: readonly [string, JobState, Partial<JobRecord>, Partial<typeof fresh>, object][] = [
    ["D5: running at this attempt", "running", {}, {}, D5],
    ["D6: running at a newer attempt", "running", { attempt: 2 }, {}, D6],
    ["D6: running in a newer life", "running", { life: 2 }, {}, D6],
    ["D4: running at an older attempt, which is behind", "running", {}, { attempt: 2 }, follow],
    ["D4: running in an older life, which is behind", "running", {}, { attempt: 2, life: 2 }, follow],
    ["D6: another life at an attempt that was made", "running", {}, { life: 2 }, D6],
    ["D4: retrying, this attempt and life awaited", "retrying", next(2), { attempt: 2 }, D4],
    ["D4: retrying before the first attempt", "retrying", { ...next(1), attempt: 0 }, {}, D4],
    ["D6: retrying, the attempt before", "retrying", next(2), {}, D6],
    ["D6: retrying, this attempt awaited in another life", "retrying", { ...next(2), life: 2 }, { attempt: 2 }, D6],
    ["D4: retrying, a later attempt, which is ahead", "retrying", next(2), { attempt: 3 }, follow],
    ["D6: succeeded", "succeeded", {}, {}, D6],
    ["D6: dead", "dead", {}, {}, D6],
    ["D6: cancelled", "cancelled", {}, {}, D6],
    ["D6: dead, a later attempt of the life that ended", "dead", {}, { attempt: 2 }, D6],
    ["D4: succeeded, another life", "succeeded", {}, { attempt: 2, life: 2 }, follow],
    ["D4: dead, another life", "dead", {}, { attempt: 2, life: 2 }, follow],
    ["D4: cancelled, another life", "cancelled", {}, { attempt: 2, life: 2 }, follow],
    ["D6: dead, an older life", "dead", { life: 2, attempt: 2 }, {}, D6],
  ];
  it.each(table)("%s", (_what, state, rest, message, expected) => {
    expect(dispatchRule({ ...fresh, ...message }, recordIn(state, rest))).toEqual(expected);
  });

  it("P1: a tombstone takes any body; another life of it is ahead", () => {
    expect(dispatchRule({ ...fresh, messageHash: "m2" }, tombstone)).toEqual(D6);
    expect(dispatchRule({ ...fresh, life: 2 }, tombstone)).toEqual(follow);
  });
});

describe("the monitor's first sight", () => {
  type Seen = Omit<SeenJob, "finished">;
  const own: Seen = { uid: JOB.uid, attempt: 1, life: 1, messageHash: "m1" };
  const other: Seen = { ...own, uid: "uid-2" };
  const second: Seen = { ...other, attempt: 2 };
  const table: readonly [string, Seen, boolean, JobRecord | undefined, string][] = [
    ["F1: no record, live", own, false, undefined, "F1"],
    ["F1: no record, finished", own, true, undefined, "F1"],
    ["known: the record runs this Job", own, false, recordIn("running"), "known"],
    ["known: the record runs this finished Job", own, true, recordIn("running"), "known"],
    ["F2: succeeded, same uid", own, true, recordIn("succeeded"), "F2"],
    ["F2: dead, same uid, still live", own, false, recordIn("dead"), "F2"],
    ["F2: retrying, same uid", own, true, recordIn("retrying", next(2)), "F2"],
    ["F2: another life is awaited, same uid", own, true, recordIn("retrying", { ...next(2), life: 2 }), "F2"],
    ["F1: retrying, awaited", second, false, recordIn("retrying", next(2)), "F1"],
    ["F1: retrying, awaited, finished already", second, true, recordIn("retrying", next(2)), "F1"],
    ["F1: the first attempt of a delayed start", other, false, recordIn("retrying", { ...next(1), attempt: 0 }), "F1"],
    ["F4: retrying, awaited, other body", { ...second, messageHash: "m2" }, false, recordIn("retrying", next(2)), "F4"],
    ["F4: retrying, awaited in another life", second, false, recordIn("retrying", { ...next(2), life: 2 }), "F4"],
    ["F5: ahead of a running record", second, false, recordIn("running"), "F1"],
    ["F5: ahead of a retrying record", { ...second, attempt: 3 }, true, recordIn("retrying", next(2)), "F1"],
    ["F5: a later life than the record's, which ended", { ...second, life: 2 }, false, recordIn("dead"), "F1"],
    ["F4: a later attempt of a life that ended", second, false, recordIn("dead"), "F4"],
    ["F3: a finished one of a life that ended", second, true, recordIn("cancelled"), "F3"],
    ["F4: ahead, but of another body", { ...second, messageHash: "m2" }, false, recordIn("running"), "F4"],
    ["F3: finished, older attempt", other, true, recordIn("running", { attempt: 2 }), "F3"],
    ["F4: live, older attempt", other, false, recordIn("running", { attempt: 2 }), "F4"],
    ["F4: live, an older life", other, false, recordIn("running", { attempt: 2, life: 2 }), "F4"],
    ["F4: live, another uid at this attempt", other, false, recordIn("running"), "F4"],
    ["F4: live, foreign terminal record", other, false, recordIn("succeeded"), "F4"],
    ["F3: finished, foreign terminal record", other, true, recordIn("dead"), "F3"],
    ["F4: live, cancelled before it was seen", own, false, tombstone, "F4"],
    ["F3: finished, cancelled before it was seen", own, true, tombstone, "F3"],
  ];
  it.each(table)("%s", (_what, job, finished, record, expected) => {
    expect(firstSightRule({ ...job, finished }, record)).toBe(expected);
  });
});
