import { describe, expect, it } from "vitest";
import { recordIn } from "../../libs/contract/testing/records.ts";
import { eventText, reportText } from "./get.ts";

describe("millrace get", () => {
  it("names id, queue, state with its reason, attempt and Job, then the events", () => {
    const record = recordIn("dead", { reason: "container main exited with code 3" });
    const events = [{ kind: "created" as const, time: "2026-11-22T10:00:00Z", source: "uid", data: { attempt: 1 } }];
    const text = reportText({ record, events });
    expect(text).toContain(`id        ${record.id}`);
    expect(text).toContain("state     dead: container main exited with code 3");
    expect(text).toContain(`job       ${record.job?.namespace}/${record.job?.name}`);
    expect(text.trimEnd().split("\n").at(-1)).toBe("2026-11-22T10:00:00Z  created    attempt 1");
  });

  it("an event's line has node, class, exit code and reason where they are known", () => {
    const data = { attempt: 2, node: "node0", class: "exit", exitCode: 3, reason: "it failed" };
    expect(eventText({ kind: "dead", time: "T", source: "uid", data })).toBe(
      "T  dead       attempt 2, on node0, exit, exit 3, it failed",
    );
  });
});
