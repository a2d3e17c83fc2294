import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { asciiJson } from "./ascii-json.ts";
import { DLQ_HEADER, deadJobHeaders, rejectionHeaders } from "./dead-letter.ts";
import { attemptData, jobEvent } from "./event.ts";
import { REJECT_CODES } from "./message.ts";
import type { JobRecord } from "./record.ts";
import { recordIn, SOURCE } from "./testing/records.ts";

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 300 }),
  fc.string({ unit: fc.constantFrom("\r", "\n", ":", "\0", "é", "\u2028", "\ud800", "a"), maxLength: 300 }),
);
const original = fc.record({ subject: text, headers: fc.dictionary(text, fc.array(text, { maxLength: 3 }), { maxKeys: 4 }) });
const RUNS = { seed: 20_261_122, numRuns: 200 } as const;
const read = (headers: Readonly<Record<string, string>>, name: string): unknown => JSON.parse(headers[name] ?? "");
const ONE_ASCII_LINE = /^[\x20-\x7e]*$/;

describe("N5: the headers of a DLQ entry", () => {
  it("of a rejection are ASCII lines that say what was said, whatever the producer wrote", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...REJECT_CODES),
        text,
        text,
        text,
        fc.option(text, { nil: undefined }),
        original,
        (code, path, reason, queue, id, from) => {
          const headers = rejectionHeaders({ rejection: { code, path, reason }, queue, id, source: SOURCE, original: from });
          for (const [name, value] of Object.entries(headers)) {
            expect(name).toMatch(/^Millrace-[A-Za-z-]+$/);
            expect(value).toMatch(ONE_ASCII_LINE);
          }
          expect(JSON.parse(headers[DLQ_HEADER.path] ?? "")).toBe(path);
          expect(JSON.parse(headers[DLQ_HEADER.headers] ?? "")).toEqual(JSON.parse(JSON.stringify(from.headers)));
          expect(JSON.parse(headers[DLQ_HEADER.subject] ?? "")).toBe(from.subject);
          expect(JSON.parse(headers[DLQ_HEADER.reason] ?? "")).toContain(reason);
        },
      ),
    );
  });

  it("of a dead job are ASCII lines, and carry its class, exit code and node", () => {
    fc.assert(
      fc.property(text, text, original, fc.option(text, { nil: undefined }), (id, reason, from, logTail) => {
        const record = recordIn("dead", {
          id,
          reason,
          attempts: [{ n: 1, uid: "u", class: "oom", exitCode: 137, node: "näme" }],
        });
        const headers = deadJobHeaders(record, from, logTail);
        for (const value of Object.values(headers)) expect(value).toMatch(ONE_ASCII_LINE);
        expect(headers).toMatchObject({ [DLQ_HEADER.class]: "oom", [DLQ_HEADER.exitCode]: "137", [DLQ_HEADER.attempt]: "1" });
        expect(read(headers, DLQ_HEADER.id)).toBe(id);
        expect(read(headers, DLQ_HEADER.node)).toBe("näme");
        if (logTail !== undefined) expect(read(headers, DLQ_HEADER.logTail)).toBe(logTail);
      }),
      RUNS,
    );
  });

  it("of a dead job tell the whole story of its last life: each attempt, the first and the last error, the trace, the log's end", () => {
    const attempts: JobRecord["attempts"] = [
      { n: 2, uid: "u2", outcome: "failed", class: "lost", reason: "of the life before" },
      { n: 3, uid: "u3", outcome: "failed", class: "oom", reason: "too little", memory: { main: "48Mi" } },
      { n: 4, uid: "u4", outcome: "failed", class: "exit", exitCode: 3, reason: "exited", node: "n1" },
    ];
    const record = recordIn("dead", {
      attempt: 4,
      life: 2,
      budgetFrom: 3,
      attempts,
      reason: "exited; all 2 attempts are used up",
    });
    const from = { subject: "jobs.default.hello", headers: { traceparent: ["00-aa-bb-01"] } };
    const headers = deadJobHeaders(record, from, "x".repeat(5_000) + "the end");
    expect(read(headers, DLQ_HEADER.attempts)).toEqual(attempts);
    expect(read(headers, DLQ_HEADER.firstError)).toBe("attempt 3: oom: too little");
    expect(read(headers, DLQ_HEADER.lastError)).toBe("attempt 4: exit: exited");
    expect(read(headers, DLQ_HEADER.trace)).toBe("00-aa-bb-01");
    expect(read(headers, DLQ_HEADER.logTail)).toMatch(/^x{1993}the end$/);
    expect(read(headers, DLQ_HEADER.message)).toBe("JOBS-5-1758000000000000005");
    expect(headers).toMatchObject({ [DLQ_HEADER.code]: "JOB_FAILED", [DLQ_HEADER.life]: "2", [DLQ_HEADER.class]: "exit" });
  });

  it("never repeat a Nats-* header as a header", () => {
    const from = { subject: "jobs.default.x", headers: { "Nats-Expected-Stream": ["JOBS"], "Nats-Msg-Id": ["a"] } };
    const headers = rejectionHeaders({
      rejection: { code: "BODY_INVALID", path: "", reason: "r" },
      queue: "q",
      id: undefined,
      source: SOURCE,
      original: from,
    });
    expect(Object.keys(headers).filter((name) => name.startsWith("Nats-"))).toEqual([]);
    expect(JSON.parse(headers[DLQ_HEADER.headers] ?? "")).toEqual(from.headers);
  });

  it("fit into the server's 64 KiB, also for the largest message that is rejected", () => {
    const huge = { "X-Big": ["é".repeat(60_000)] };
    const headers = rejectionHeaders({
      rejection: { code: "HEADERS_TOO_LARGE", path: "é".repeat(300), reason: "é".repeat(500) },
      queue: "default",
      id: "é".repeat(256),
      source: SOURCE,
      original: { subject: `jobs.default.${"é".repeat(2_000)}`, headers: huge },
    });
    const bytes = Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0);
    expect(bytes).toBeLessThan(64 * 1024);
  });

  it("fit into the server's 64 KiB, also for the most that a record, a log and a producer can say", () => {
    const attempts = Array.from({ length: 10 }, (_, index) => ({
      n: index + 1,
      uid: "u".repeat(36),
      class: "exit" as const,
      reason: "é".repeat(150),
      node: "n".repeat(253),
    }));
    const record = recordIn("dead", { id: "\u0001".repeat(256), attempt: 10, attempts, reason: "é".repeat(250) });
    const headers = deadJobHeaders(
      record,
      { subject: `jobs.default.${"é".repeat(2_000)}`, headers: { x: ["é".repeat(4_000)], traceparent: ["é".repeat(2_000)] } },
      "\u0001".repeat(65_536),
    );
    expect(Object.keys(headers)).not.toContain(DLQ_HEADER.logTail);
    expect(Object.keys(headers)).toContain(DLQ_HEADER.attempts);
    const bytes = Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0);
    expect(bytes).toBeLessThan(64 * 1024);
  });

  it("asciiJson gives back any JSON value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(asciiJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});

describe("design §4.3: events are CloudEvents 1.0", () => {
  it("with the required attributes, and an id that is unique for its source", () => {
    const record = recordIn("dead", { reason: "r" });
    const event = jobEvent({
      instance: "ns.rel",
      kind: "dead",
      key: "uid-1",
      subject: record.id,
      at: record.updatedAt,
      data: attemptData(record),
    });
    expect(event).toMatchObject({
      specversion: "1.0",
      id: "uid-1.dead",
      source: "/millrace/ns.rel",
      type: "dev.millrace.job.dead",
      datacontenttype: "application/json",
      data: { id: "a", attempt: 1, life: 1, reason: "r" },
    });
  });
});
