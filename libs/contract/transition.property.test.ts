import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FAILURE_CLASSES } from "./failure-class.ts";
import { queueConfig } from "./queue-config.ts";
import { isTerminal, type JobRecord, jobRecord } from "./record.ts";
import type { RecordEvent } from "./record-event.ts";
import { RECORD_BYTES } from "./record-size.ts";
import type { RetryPolicy } from "./retry.ts";
import { lastAttempt, transition } from "./transition.ts";
import type { Ended } from "./verdict.ts";

const RUNS = { seed: 20_261_122, numRuns: 500 } as const;
const at = "2026-01-01T00:05:00.000Z";
const config = queueConfig.parse({}).retry;
const about = { hash: "h".repeat(20), queue: "default", messageHash: "m".repeat(64) };

/** What people and producers may write: long, wide, or such as JSON makes six times as long. */
const hostile = (maxLength: number): fc.Arbitrary<string> =>
  fc
    .tuple(
      fc.constantFrom("a", "\u0001", '"', "\\", "\n", "é", "€", "💥", "\ud800", "a\u0001\u0001\u0001é"),
      fc.integer({ min: 1, max: maxLength }),
    )
    .map(([text, length]) => text.repeat(Math.ceil(length / text.length)).slice(0, length));
const source = fc.record({
  stream: fc.constantFrom("JOBS", "RETRY"),
  seq: fc.integer({ min: 1, max: 5 }),
  storedAt: fc.constant("1758000000000000005"),
});
const memory = fc.option(fc.dictionary(fc.constantFrom("main", "sidecar"), fc.constantFrom("48Mi", "1Gi")), { nil: undefined });
const policy: fc.Arbitrary<RetryPolicy> = fc.record({
  config: fc.constant(config),
  attempts: fc.constantFrom(undefined, 1, 2, 100),
  final: fc.constantFrom(undefined, undefined, undefined, "its queue is gone"),
  blocked: fc.boolean(),
  random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
});
const evidence = { endedAt: fc.constant(at), node: hostile(253), exitCode: fc.constantFrom(0, 3, 64, 137) };
const verdict: fc.Arbitrary<Ended> = fc.oneof(
  fc.record({ kind: fc.constant("succeeded" as const), result: hostile(4096), ...evidence }),
  fc.record({ kind: fc.constant("cancelled" as const), reason: hostile(2000), ...evidence }),
  fc.record({
    kind: fc.constant("failed" as const),
    class: fc.constantFrom(...FAILURE_CLASSES),
    reason: hostile(2000),
    container: fc.constantFrom("main", "sidecar"),
    memoryLimit: fc.constantFrom("32Mi", "1Gi", "64Gi"),
    ...evidence,
  }),
);

/** Any event about any of the first attempts and lives; `job` is the id's own facts. */
const anyEvent: fc.Arbitrary<RecordEvent> = fc
  .record({
    id: hostile(256),
    type: hostile(3000),
    source,
    attempt: fc.integer({ min: 1, max: 5 }),
    life: fc.integer({ min: 1, max: 3 }),
    uid: fc.constantFrom("x", "y"),
    memory,
    verdict,
    policy,
    text: hostile(2000),
  })
  .chain(({ id, type, source: from, attempt, life, uid, memory: given, verdict: end, policy: how, text }) => {
    const of = { ...about, id, type, source: from, attempt, life, at };
    const job = { namespace: "jobs", name: `hello-${attempt}`, uid: `uid-${attempt}-${uid}` };
    return fc.constantFrom<RecordEvent>(
      { kind: "firstSight", ...of, job },
      { kind: "attemptEnded", attempt, uid: job.uid, verdict: end, policy: how, at },
      { kind: "delayed", ...of, memory: given, notBefore: "2026-01-01T09:00:00.000Z", why: text, refused: life },
      { kind: "refused", attempt, life, source: from, reason: text, at },
      { kind: "cancelled", id, hash: about.hash, queue: about.queue, reason: text, at },
      { kind: "adopted", type, messageHash: about.messageHash, source: from, at },
      { kind: "startedAgain", reason: text, at },
      { kind: "followed", ...of, memory: given },
    );
  });

/** Half of the steps follow what the record awaits or runs, so that lives become long; the other half is anything. */
const step = fc.record({ event: anyEvent, follow: fc.boolean() });

function aimed(record: JobRecord | undefined, event: RecordEvent): RecordEvent {
  if (record === undefined) return event;
  const attempt = record.next?.attempt ?? record.attempt;
  switch (event.kind) {
    case "firstSight":
      return { ...event, attempt, life: record.life, job: { ...event.job, uid: `uid-${attempt}-x` } };
    case "attemptEnded":
      return { ...event, attempt: record.attempt, uid: record.job?.uid ?? "" };
    case "delayed":
    case "refused":
    case "followed":
      return { ...event, attempt, life: record.life };
    default:
      return event;
  }
}

function play(steps: readonly { event: RecordEvent; follow: boolean }[], check: Check): void {
  let record: JobRecord | undefined;
  for (const { event, follow } of steps) {
    const given = follow ? aimed(record, event) : event;
    const moved = transition(record, given);
    if (moved.kind === "refused") continue;
    if (moved.kind === "already") expect(moved.record).toBe(record);
    check(record, moved.record, given);
    record = moved.record;
  }
}
type Check = (before: JobRecord | undefined, after: JobRecord, event: RecordEvent) => void;

function always(check: Check): void {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => play(steps, check)),
    RUNS,
  );
}

describe("transition: whatever happens, in whatever order", () => {
  it("what it makes is what its schema accepts, and at most 8 KiB", () => {
    always((_before, after) => {
      expect(jobRecord.parse(JSON.parse(JSON.stringify(after)))).toEqual(JSON.parse(JSON.stringify(after)));
      expect(Buffer.byteLength(JSON.stringify(after))).toBeLessThanOrEqual(RECORD_BYTES);
    });
  });

  it("attempt numbers never restart while a record exists, and lives and budgets never go back", () => {
    always((before, after) => {
      if (before === undefined) return;
      expect(lastAttempt(after)).toBeGreaterThanOrEqual(lastAttempt(before));
      expect(after.attempt).toBeGreaterThanOrEqual(before.attempt);
      expect(after.life).toBeGreaterThanOrEqual(before.life);
      expect(after.budgetFrom).toBeGreaterThanOrEqual(before.budgetFrom);
      if (after.life > before.life) expect(after.budgetFrom).toBeGreaterThan(lastAttempt(before));
    });
  });

  it("I1: an attempt has one Job for ever", () => {
    const jobs = (record: JobRecord | undefined): Map<number, string | undefined> =>
      new Map(record?.attempts.map(({ n, uid }) => [n, uid]));
    always((before, after) => {
      const known = jobs(before);
      for (const [n, uid] of jobs(after)) if (known.has(n)) expect(uid).toBe(known.get(n));
      expect(jobs(after).size).toBe(after.attempts.length);
      if (after.state === "running") expect(jobs(after).get(after.attempt)).toBe(after.job?.uid);
    });
  });

  it("I7: a life ends once: what has ended goes on in another life only", () => {
    always((before, after) => {
      if (before === undefined || !isTerminal(before.state) || after.life > before.life) return;
      expect(after.state).toBe(before.state);
      expect(after.attempts).toEqual(before.attempts);
    });
  });

  it("a record says what it waits for while it waits, what runs while it runs, and always whose it is", () => {
    always((before, after) => {
      expect(after.next !== undefined).toBe(after.state === "retrying");
      if (after.state === "running") expect(after.job).toBeDefined();
      if (after.next !== undefined) expect(after.next.attempt).toBeGreaterThan(after.attempt);
      if (before === undefined) return;
      expect([after.id, after.hash, after.queue, after.createdAt]).toEqual([
        before.id,
        before.hash,
        before.queue,
        before.createdAt,
      ]);
      if (before.messageHash !== "") expect(after.messageHash).toBe(before.messageHash);
    });
  });

  it("the same event again changes nothing more", () => {
    always((_before, after, event) => {
      if (event.kind === "startedAgain" && isTerminal(after.state)) return;
      const again = transition(after, event);
      if (again.kind === "moved") expect({ ...again.record, updatedAt: "" }).toEqual({ ...after, updatedAt: "" });
    });
  });
});

describe("a record stays within 8 KiB", () => {
  it("with ten ordinary attempts all ten are kept", () => {
    const steps = Array.from({ length: 10 }, (_, index): RecordEvent[] => {
      const attempt = index + 1;
      const job = { namespace: "jobs", name: `image-resize-${about.hash}-a${attempt}`, uid: crypto.randomUUID() };
      const from = { stream: "RETRY", seq: 123_456_789, storedAt: "1758000000000000005" };
      const reason = "container main was killed for using more memory than its limit of 108Mi";
      const end: Ended = {
        kind: "failed",
        class: "oom",
        reason,
        node: "n".repeat(63),
        startedAt: at,
        endedAt: at,
        exitCode: 137,
      };
      const how: RetryPolicy = { config, attempts: 100, final: undefined, blocked: false, random: 0 };
      return [
        { kind: "firstSight", ...about, id: "i".repeat(256), type: "image.resize", source: from, attempt, life: 1, job, at },
        { kind: "attemptEnded", attempt, uid: job.uid, verdict: end, policy: how, at },
      ];
    }).flat();
    let last: JobRecord | undefined;
    play(
      steps.map((event) => ({ event, follow: false })),
      (_before, after) => {
        last = after;
      },
    );
    expect(last?.attempts).toHaveLength(10);
  });

  it("with longer ones the oldest give way, never the last", () => {
    const reason = "\u0001".repeat(2000);
    const attempts = Array.from({ length: 10 }, (_, index) => ({
      n: index + 1,
      uid: "u".repeat(36),
      node: "é".repeat(253),
      reason: "r".repeat(300),
    }));
    const running: JobRecord = {
      ...{ id: "\u0001".repeat(256), ...about, type: "t", life: 1, budgetFrom: 1 },
      ...{ state: "running", attempt: 10, attempts, counts: { free: 0, blocked: 0, refused: 0 } },
      job: { namespace: "jobs", name: "x", uid: "u".repeat(36) },
      createdAt: at,
      updatedAt: at,
    };
    const end: Ended = { kind: "failed", class: "exit", reason, endedAt: at, exitCode: 3 };
    const how: RetryPolicy = { config, attempts: undefined, final: undefined, blocked: false, random: 0 };
    const moved = transition(running, { kind: "attemptEnded", attempt: 10, uid: "u".repeat(36), verdict: end, policy: how, at });
    if (moved.kind !== "moved") throw new Error("the verdict was refused");
    expect(moved.record.attempts.length).toBeLessThan(10);
    expect(moved.record.attempts.at(-1)).toMatchObject({ n: 10, class: "exit" });
    expect(Buffer.byteLength(JSON.stringify(moved.record))).toBeLessThanOrEqual(RECORD_BYTES);
  });
});
