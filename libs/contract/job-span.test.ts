import { describe, expect, it } from "vitest";
import { attemptSpan, dispatchSpan, jobSpan } from "./job-span.ts";
import { attemptContext, jobContext } from "./job-trace.ts";
import type { JobRecord } from "./record.ts";

const STORED_MS = Date.parse("2026-01-01T00:00:00Z");
const job = { namespace: "jobs", name: "hello-h-a1", uid: "u1" };
const source = { stream: "JOBS", seq: 7, storedAt: `${STORED_MS}500000` };
const at = (seconds: number): string => new Date(STORED_MS + seconds * 1000).toISOString();

const record: JobRecord = {
  id: "a",
  hash: "h".repeat(20),
  queue: "default",
  type: "hello",
  state: "dead",
  attempt: 1,
  life: 1,
  budgetFrom: 1,
  messageHash: "m",
  source,
  job,
  traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
  attempts: [
    {
      n: 1,
      uid: "u1",
      source: `JOBS-7-${source.storedAt}`,
      node: "node0",
      startedAt: at(3),
      endedAt: at(9),
      outcome: "failed",
      class: "exit",
      exitCode: 2,
      reason: "container main exited with code 2",
    },
  ],
  counts: { free: 0, blocked: 0, refused: 0 },
  createdAt: at(2),
  updatedAt: at(10),
  reason: "container main exited with code 2; 1 attempt was made",
};

describe("spans of a job", () => {
  it("dispatch: from the message's store time to its Job", () => {
    expect(dispatchSpan({ ...record, source }, job, STORED_MS + 2_000)).toMatchObject({
      name: "dispatch default",
      kind: "consumer",
      context: attemptContext(record, 1, "dispatch"),
      startMs: STORED_MS + 0.5,
      endMs: STORED_MS + 2_000,
      attributes: {
        "messaging.system": "nats",
        "messaging.destination.name": "jobs.default.hello",
        "messaging.message.id": "a",
        "k8s.namespace.name": "jobs",
        "k8s.job.name": "hello-h-a1",
        "millrace.queue": "default",
        "millrace.attempt": 1,
      },
      error: undefined,
    });
  });

  it("attempt: from its Job's creation to its end, with the class of what made it fail", () => {
    expect(attemptSpan(record, { createdAt: at(2), pod: "p" })).toMatchObject({
      name: "attempt default",
      context: attemptContext(record, 1, "attempt"),
      startMs: Date.parse(at(2)),
      endMs: Date.parse(at(9)),
      attributes: {
        "millrace.outcome": "failed",
        "error.type": "exit",
        "process.exit.code": 2,
        "k8s.pod.name": "p",
        "k8s.node.name": "node0",
      },
      events: [{ name: "pod.started", atMs: Date.parse(at(3)) }],
      error: "exit: container main exited with code 2",
    });
  });

  it("attempt: what succeeded or was cancelled is no error; without its Job it begins when its container did", () => {
    for (const outcome of ["succeeded", "cancelled"] as const) {
      const attempts = [{ n: 1, startedAt: at(3), endedAt: at(9), outcome }];
      const span = attemptSpan({ ...record, state: outcome, attempts }, {});
      expect(span).toMatchObject({ startMs: Date.parse(at(3)), error: undefined, attributes: { "millrace.outcome": outcome } });
    }
  });

  it("job: from the first message's store time to the record of its outcome; another life has a time of its own", () => {
    expect(jobSpan(record)).toMatchObject({
      name: "job default",
      context: jobContext(record),
      startMs: STORED_MS + 0.5,
      endMs: Date.parse(at(10)),
      attributes: { "millrace.outcome": "dead", "millrace.attempts": 1, "error.type": "exit" },
      error: record.reason,
    });
    const again = {
      n: 2,
      uid: "u2",
      source: `RETRY-9-${STORED_MS + 60_000}000000`,
      endedAt: at(70),
      outcome: "succeeded",
    } as const;
    const life2: JobRecord = {
      ...record,
      state: "succeeded",
      life: 2,
      attempt: 2,
      budgetFrom: 2,
      attempts: [...record.attempts, again],
      updatedAt: at(71),
    };
    expect(jobSpan(life2)).toMatchObject({
      startMs: STORED_MS + 60_000,
      attributes: { "millrace.attempts": 1 },
      error: undefined,
    });
  });

  it("job: a delayed start is as old as its record", () => {
    const [attempt] = record.attempts;
    const delayed = {
      ...record,
      attempts: [{ ...attempt, n: 1, source: `RETRY-9-${STORED_MS + 60_000}000000` }],
      updatedAt: at(70),
    };
    expect(jobSpan(delayed)?.startMs).toBe(Date.parse(at(2)));
  });

  it("there is none of a job that goes on, of one that is not traced, and of one whose producer does not want it", () => {
    for (const state of ["running", "retrying"] as const) expect(jobSpan({ ...record, state })).toBeUndefined();
    const { traceparent = "", ...untraced } = record;
    for (const of of [untraced, { ...record, traceparent: traceparent.replace(/01$/, "00") }]) {
      expect(dispatchSpan({ ...of, source }, job, STORED_MS)).toBeUndefined();
      expect(attemptSpan(of, {})).toBeUndefined();
      expect(jobSpan(of)).toBeUndefined();
    }
  });

  it("clocks differ: none ends before it begins", () => {
    const span = dispatchSpan({ ...record, source }, job, STORED_MS - 5_000);
    expect(span?.endMs).toBe(span?.startMs);
  });
});
