import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { asciiJson, DLQ_HEADER, deadJobHeaders, rejectionHeaders } from "./dead-letter.ts";
import { attemptData, jobEvent } from "./event.ts";
import { REJECT_CODES } from "./message.ts";
import { recordIn, SOURCE } from "./testing/records.ts";

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 300 }),
  fc.string({ unit: fc.constantFrom("\r", "\n", ":", "\0", "é", "\u2028", "\ud800", "a"), maxLength: 300 }),
);
const original = fc.record({ subject: text, headers: fc.dictionary(text, fc.array(text, { maxLength: 3 }), { maxKeys: 4 }) });
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
      fc.property(text, text, original, (id, reason, from) => {
        const record = recordIn("dead", {
          id,
          reason,
          attempts: [{ n: 1, uid: "u", class: "oom", exitCode: 137, node: "näme" }],
        });
        const headers = deadJobHeaders(record, from);
        for (const value of Object.values(headers)) expect(value).toMatch(ONE_ASCII_LINE);
        expect(headers).toMatchObject({ [DLQ_HEADER.class]: "oom", [DLQ_HEADER.exitCode]: "137", [DLQ_HEADER.attempt]: "1" });
        expect(JSON.parse(headers[DLQ_HEADER.id] ?? "")).toBe(id);
      }),
    );
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
