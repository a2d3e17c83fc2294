import { describe, expect, it } from "vitest";
import { jobsText, queuesText } from "./lists.ts";
import { printable } from "./table.ts";

const NOW = Date.parse("2026-01-01T01:00:00Z");
const job = {
  id: "a",
  hash: "h",
  queue: "default",
  state: "dead",
  attempt: 3,
  createdAt: "2026-01-01T00:00:00Z",
  updatedAt: "",
} as const;
const queue = { queue: "default", configured: true, waiting: 2, running: 3, slots: 100, retrySlots: 10, sleeping: 1, dead: 4 };

describe("millrace ls", () => {
  it("has one line for each job in columns, and only the header without any", () => {
    const jobs = [
      { ...job, class: "exit" as const, reason: "exit code 3" },
      { ...job, id: "a longer id", state: "running" as const },
    ];
    expect(jobsText(jobs, NOW)).toBe(
      [
        "ID            QUEUE     STATE     ATTEMPT   CLASS   AGE   REASON",
        "a             default   dead      3         exit    1h    exit code 3",
        "a longer id   default   running   3                 1h",
      ].join("\n"),
    );
    expect(jobsText([], NOW)).toBe("ID   QUEUE   STATE   ATTEMPT   CLASS   AGE   REASON");
  });

  it("a long reason is cut, and what a producer wrote cannot move the terminal's cursor", () => {
    expect(jobsText([{ ...job, reason: "x".repeat(100) }], NOW)).toMatch(/ x{59}…$/);
    expect(jobsText([{ ...job, id: "a\u001b[2Jb\nc" }], NOW)).toContain("a?[2Jb?c");
    expect(printable("plain ü")).toBe("plain ü");
  });
});

describe("millrace queues", () => {
  it("shows what waits, runs of how many, sleeps, is dead, and a pause with its reason", () => {
    const paused = { by: "ann", reason: "upgrade" };
    expect(
      queuesText([
        { ...queue, paused },
        { ...queue, queue: "old", configured: false, sleeping: undefined },
      ]),
    ).toBe(
      [
        "QUEUE                  WAITING   RUNNING/SLOTS   SLEEPING   DEAD   PAUSED",
        "default                2         3/110           1          4      until it is resumed by ann: upgrade",
        "old (not configured)   2         3/110           ?          4",
      ].join("\n"),
    );
  });
});
