import { expect, it } from "vitest";
import { ANNOTATION, LABEL } from "../../libs/contract/names.ts";
import type { JobView } from "../../libs/contract/observation.ts";
import { jobViewOf } from "../../libs/contract/testing/records.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { ExpiredJobs } from "./expired-jobs.ts";

const HOUR_MS = 3_600_000;
const nowMs = Date.parse("2026-01-02T00:00:00Z");
const before = (ms: number): string => new Date(nowMs - ms).toISOString();

function settledJob(uid: string, rest: Partial<JobView> = {}, annotations: Readonly<Record<string, string>> = {}): JobView {
  return jobViewOf({
    uid,
    completedAt: before(2 * HOUR_MS),
    labels: { [LABEL.queue]: "default", [LABEL.job]: "a".repeat(20), [LABEL.attempt]: "1" },
    annotations: {
      [ANNOTATION.id]: "a",
      [ANNOTATION.messageHash]: "m",
      [ANNOTATION.ack]: "$JS.ACK.JOBS.queue-default.1.5.5.1758000000000000005.0",
      [ANNOTATION.settled]: "true",
      ...annotations,
    },
    ...rest,
  });
}

it("S5: settled Jobs go when their keep is long over, and no others", async () => {
  const deleted: string[] = [];
  const jobs = [
    settledJob("expired"),
    settledJob("failed-and-expired", { failed: { at: before(2 * HOUR_MS), reason: "", message: "" } }),
    settledJob("kept", { completedAt: before(HOUR_MS / 2) }),
    settledJob("kept-by-its-message", {}, { [ANNOTATION.keepSeconds]: "36000" }),
    settledJob("of-a-removed-queue", { labels: { [LABEL.queue]: "gone", [LABEL.job]: "a".repeat(20), [LABEL.attempt]: "1" } }),
    settledJob("being-deleted", { deleting: true }),
    jobViewOf({ uid: "not-settled", completedAt: before(2 * HOUR_MS) }),
  ];
  const expired = new ExpiredJobs({
    jobs: () => jobs,
    api: {
      delete: (_namespace, _name, uid) => {
        deleted.push(uid);
        return Promise.resolve(true);
      },
    },
    queues: () => ({ default: { keep: { succeeded: 60_000, failed: HOUR_MS } } }),
    nowMs: () => nowMs,
    log: silentLog,
  });
  await expired.sweep(new AbortController().signal, () => {});
  expect(deleted).toEqual(["expired", "failed-and-expired"]);
});

it("one that may not be deleted keeps none of the others from it; after each the sweep says that it goes on", async () => {
  const asked: string[] = [];
  const expired = new ExpiredJobs({
    jobs: () => [settledJob("forbidden"), settledJob("expired")],
    api: {
      delete: (_namespace, _name, uid) => {
        asked.push(uid);
        return uid === "forbidden" ? Promise.reject(new Error("403")) : Promise.resolve(true);
      },
    },
    queues: () => ({ default: { keep: { succeeded: 60_000, failed: HOUR_MS } } }),
    nowMs: () => nowMs,
    log: silentLog,
  });
  await expired.sweep(new AbortController().signal, () => asked.push("beat"));
  expect(asked).toEqual(["forbidden", "beat", "expired", "beat"]);
});
