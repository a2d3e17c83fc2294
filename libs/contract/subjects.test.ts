import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { jobHash, QUEUE_PATTERN } from "./names.ts";
import {
  deadLetterSubject,
  eventSubject,
  jobsFilter,
  parseJobSubject,
  parseRetrySubject,
  rejectedDeadLetterSubject,
  rejectedEventSubject,
  retryAtSubject,
  retryFilter,
  retryRunSubject,
} from "./subjects.ts";

const source = { stream: "JOBS", seq: 7, storedAt: "1758000000000000001" };
const hostile = fc.oneof(
  fc.string({ unit: "binary", maxLength: 300 }),
  fc.string({ unit: fc.constantFrom(".", "*", ">", " ", "\r", "\n", "$", "a", "\0", "é"), maxLength: 300 }),
);

/** What nats-server accepts in a publish: no empty token, no wildcard, no space, and well below the 4 KiB control line. */
function expectPublishable(subject: string): void {
  expect(subject).toMatch(/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/);
  expect(subject.length).toBeLessThan(1024);
}

describe("D11: subjects made of what a producer wrote", () => {
  it("are always publishable", () => {
    fc.assert(
      fc.property(hostile, hostile, (queue, type) => {
        expectPublishable(deadLetterSubject(queue, type, "a".repeat(20), 1));
        expectPublishable(rejectedDeadLetterSubject(queue, type, source));
        expectPublishable(rejectedEventSubject(queue, source));
      }),
    );
  });

  it("keep what is readable", () => {
    expect(deadLetterSubject("default", "image.resize", "h", 2)).toBe("dlq.default.image.resize.h.2");
    expect(rejectedDeadLetterSubject("default", "", source)).toBe("dlq.default._.JOBS-7-1758000000000000001");
    expect(rejectedEventSubject("default", source)).toBe("events.default.JOBS-7-1758000000000000001.0.rejected");
    expect(eventSubject("default", "h", 1, "created")).toBe("events.default.h.1.created");
  });

  it.each([
    ["jobs.default.hello", { queue: "default", type: "hello" }],
    ["jobs.default.image.resize", { queue: "default", type: "image.resize" }],
    ["jobs.default", { queue: "default", type: "" }],
    ["jobs", undefined],
    ["jobs..x", undefined],
    ["other.default.x", undefined],
  ])("reads %s", (subject, expected) => {
    expect(parseJobSubject(subject)).toEqual(expected);
  });

  it("a queue's filter takes its own subjects only", () => {
    expect(jobsFilter("default")).toBe("jobs.default.>");
    expect(retryFilter("default")).toBe("retry.run.default.>");
  });
});

describe("S2: the two subjects of a retry", () => {
  it("a due one says which attempt of which job on which queue it is", () => {
    fc.assert(
      fc.property(
        fc.stringMatching(QUEUE_PATTERN, { maxLength: 40 }),
        fc.string({ minLength: 1 }),
        fc.integer({ min: 1 }),
        (queue, id, attempt) => {
          const hash = jobHash("ns.rel", queue, id);
          expect(parseRetrySubject(retryRunSubject(queue, hash, attempt))).toEqual({ queue, hash, attempt });
          expect(parseRetrySubject(retryAtSubject(hash, attempt))).toBeUndefined();
        },
      ),
      { seed: 20_261_122, numRuns: 200 },
    );
  });

  it.each(["retry.run.q.abc", "retry.run.q.abc.x", "retry.run.q.abc.1.2", "retry.run.q.ABC.1", "jobs.q.abc.1", ""])(
    "%j is none",
    (subject) => {
      expect(parseRetrySubject(subject)).toBeUndefined();
    },
  );
});
