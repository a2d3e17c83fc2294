import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JobRecord } from "./record.ts";
import { parseRetryMessage, RETRY_HEADER, retryHeaders } from "./retry-message.ts";
import { retryAtSubject, retryRunSubject } from "./subjects.ts";
import { recordIn } from "./testing/records.ts";

const RUNS = { seed: 20_261_122, numRuns: 300 } as const;
const hash = "a2".repeat(10);
const subject = retryRunSubject("default", hash, 2);
const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 100 }),
  fc.string({ unit: fc.constantFrom("\r", "\n", ":", "\0", "é", "\u2028", '"', "a"), maxLength: 100 }),
);
const headerName = text.filter((name) => name !== "__proto__");
const message = fc.record({
  subject: text,
  headers: fc.dictionary(headerName, fc.array(text, { maxLength: 3 }), { maxKeys: 4, noNullPrototype: true }),
  bodyBase64: fc.constant(""),
});
const memory = fc.dictionary(fc.constantFrom("main", "side"), fc.constantFrom("48Mi", "1Gi"), { noNullPrototype: true });

/** As a server gives them back. */
const delivered = (headers: Readonly<Record<string, string>>): Record<string, string[]> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));
const sample = (rest: Partial<JobRecord> = {}): Record<string, string> =>
  retryHeaders(
    recordIn("retrying", { hash, ...rest }),
    { attempt: 2, notBefore: "2026-01-01T00:00:00Z" },
    { subject: "jobs.default.hello", headers: {}, bodyBase64: "" },
  );

describe("N4: what a RETRY message carries", () => {
  it("is what the record says, with the producer's subject and headers, whatever they hold", () => {
    fc.assert(
      fc.property(text, text, memory, message, fc.nat(5), (id, type, limits, original, refused) => {
        const record = recordIn("retrying", { id, hash, type, life: 3, counts: { free: 1, blocked: 0, refused } });
        const next = { attempt: 2, memory: limits, notBefore: "2026-01-01T00:00:00Z" };
        expect(parseRetryMessage(subject, delivered(retryHeaders(record, next, original)))).toEqual({
          ...{ id, hash, queue: "default", type, attempt: 2, life: 3, memory: limits, messageHash: "m1", refused },
          original: { subject: original.subject, headers: original.headers },
        });
      }),
      RUNS,
    );
  });

  it("N5: is one line of ASCII each, and no Nats-* header of the producer's is a header", () => {
    fc.assert(
      fc.property(text, text, message, (id, type, original) => {
        const nats = { ...original, headers: { ...original.headers, "Nats-Msg-Id": ["x"], "Nats-Expected-Stream": ["JOBS"] } };
        const headers = retryHeaders(recordIn("retrying", { id, type }), { attempt: 2, notBefore: "" }, nats);
        for (const [name, value] of Object.entries(headers)) {
          expect(name).toMatch(/^Millrace-[A-Za-z-]+$/);
          expect(value).toMatch(/^[\x20-\x7e]+$/);
        }
      }),
      RUNS,
    );
  });

  it("N5: fits into the server's 64 KiB, the producer's headers being left out only when JSON makes them larger", () => {
    const size = (headers: Record<string, string>): number =>
      Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0);
    const worst = (length: number): Record<string, string> =>
      retryHeaders(
        recordIn("retrying", { id: "\u0001".repeat(256), type: "é".repeat(128) }),
        { attempt: 2, notBefore: "", memory: { main: "48Mi" } },
        { subject: `jobs.${"é".repeat(2000)}`, headers: { x: ["\u0001".repeat(length)] }, bodyBase64: "" },
      );
    expect(size(worst(6_000))).toBeLessThan(64 * 1024);
    expect(worst(6_000)[RETRY_HEADER.headers]).toContain("\\u0001");
    expect(worst(16 * 1024)[RETRY_HEADER.headers]).toBe("{}");
  });
});

describe("N4: what is believed of a RETRY message", () => {
  it("the sample is", () => {
    expect(parseRetryMessage(subject, delivered(sample()))).toBeDefined();
  });

  it("only a due one, and only if its number is the one in its subject", () => {
    for (const other of [retryAtSubject(hash, 2), retryRunSubject("default", hash, 3), "retry.run.default.UPPER.2", "", "x"]) {
      expect(parseRetryMessage(other, delivered(sample()))).toBeUndefined();
    }
  });

  it.each(Object.values(RETRY_HEADER))("nothing without %s, or with anything else in it", (name) => {
    const { [name]: _one, ...rest } = sample();
    expect(parseRetryMessage(subject, delivered(rest))).toBeUndefined();
    for (const value of ["", "{", "null", "[]", "-1", "1.5", '{"a":1}']) {
      expect(parseRetryMessage(subject, delivered({ ...rest, [name]: value }))).toBeUndefined();
    }
  });

  it("hostile headers never throw", () => {
    const value = fc.oneof(
      text,
      fc.json(),
      fc.constantFrom('{"__proto__":["x"]}', '{"constructor":["x"]}', "9".repeat(400), "[".repeat(50_000), '"\\ud800"'),
    );
    fc.assert(
      fc.property(
        fc.dictionary(fc.oneof(fc.constantFrom(...Object.values(RETRY_HEADER)), text), fc.array(value, { maxLength: 2 })),
        fc.oneof(fc.constant(subject), text),
        (headers, under) => {
          parseRetryMessage(under, { ...delivered(sample()), ...headers });
        },
      ),
      RUNS,
    );
  });
});
