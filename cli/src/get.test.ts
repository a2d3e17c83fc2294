import { describe, expect, it } from "vitest";
import { recordIn } from "../../libs/contract/testing/records.ts";
import { eventText, reportJson, reportText } from "./get.ts";
import { printable } from "./table.ts";

const record = recordIn("dead", { reason: "container main exited with code 3" });
const { id, hash, queue } = record;
const timeline = [{ kind: "created" as const, at: "2026-11-22T10:00:00Z", attempt: 1 }];
const explanations = [{ why: "dead after attempt 1", todo: "mend it" }];

describe("millrace get", () => {
  it("names id, queue, state with its reason, attempt, Job, why and what to do, then the events", () => {
    const text = reportText({ ok: true, id, hash, queue, record, timeline, explanations });
    expect(text).toContain(`id        ${id}`);
    expect(text).toContain("state     dead: container main exited with code 3");
    expect(text).toContain(`job       ${record.job?.namespace}/${record.job?.name}`);
    expect(text).toContain("why       dead after attempt 1\nto do     mend it");
    expect(text.split("\n").at(-1)).toBe("2026-11-22T10:00:00Z  created    attempt 1");
  });

  it("a message that waits has no record: it is shown as waiting, with the reason", () => {
    const report = { ok: true as const, id, hash, queue, timeline: [], explanations };
    expect(reportText(report)).toBe(
      `id        ${id}\nqueue     default\nstate     waiting\nwhy       dead after attempt 1\nto do     mend it`,
    );
    expect(reportJson(report)).toEqual({ id, hash, queue, state: "waiting", timeline: [], explanations });
  });

  it("json is the record, with timeline and explanations", () => {
    const report = reportJson({ ok: true, id, hash, queue, record, timeline, explanations });
    expect(report).toEqual({ ...record, timeline, explanations });
  });

  it("an event's line has node, class, exit code, reason and the next attempt's time where they are known", () => {
    const event = { kind: "dead" as const, at: "T", attempt: 2, node: "node0", class: "exit", exitCode: 3, reason: "it failed" };
    expect(eventText(event)).toBe("T  dead       attempt 2, on node0, exit, exit 3, it failed");
    expect(eventText({ kind: "retrying", at: "T", attempt: 1, notBefore: "U" })).toBe(
      "T  retrying   attempt 1, next not before U",
    );
  });

  it("nothing that a producer or a pod wrote is obeyed by the terminal, nor looks like another line", () => {
    const hostile = "a\u001b]0;x\u0007\nstate     succeeded\u202e";
    const written = recordIn("succeeded", { id: hostile, result: hostile });
    const said = [{ why: hostile, todo: hostile }];
    const happened = [{ kind: "dead" as const, at: "T", attempt: 1, reason: hostile }];
    const text = reportText({ ok: true, id: hostile, hash, queue, record: written, timeline: happened, explanations: said });
    expect(text.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\u202e]/u);
    expect(text.split("\n").filter((line) => line.startsWith("state"))).toEqual(["state     succeeded"]);
    expect(eventText({ kind: "dead", at: "T", attempt: 1, reason: hostile })).not.toMatch(/[\p{Cc}\u202e]/u);
  });
});

it("the line end of a result is none of it", () => {
  expect(printable("42\n")).toBe("42");
  expect(printable("4\n2")).toBe("4?2");
});
