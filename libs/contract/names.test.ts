import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  INSTANCE_PATTERN,
  isLabelValue,
  jobHash,
  jobName,
  jobSelector,
  messageHash,
  namePrefix,
  QUEUE_PATTERN,
} from "./names.ts";

const instance = fc.stringMatching(/^[a-z0-9.-]{1,20}$/);
const queue = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$/);
const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

describe("N1: the hash of a job", () => {
  it("is 20 characters of base32, usable as label, DNS label and subject token, whatever the id", () => {
    fc.assert(
      fc.property(instance, queue, fc.string({ unit: "binary", maxLength: 256 }), (who, where, id) => {
        expect(jobHash(who, where, id)).toMatch(/^[a-z2-7]{20}$/);
      }),
    );
  });

  it("differs for distinct triples, also where the parts could run into each other", () => {
    fc.assert(
      fc.property(
        fc.tuple(instance, queue, fc.string({ unit: fc.constantFrom("a", "-", ".", "\0", " ") })),
        fc.tuple(instance, queue, fc.string({ unit: fc.constantFrom("a", "-", ".", "\0", " ") })),
        (one, other) => {
          const same = one.every((part, index) => part === other[index]);
          expect(jobHash(...one) === jobHash(...other)).toBe(same);
        },
      ),
      { numRuns: 500 },
    );
    expect(jobHash("ns.a", "b", "c")).not.toBe(jobHash("ns.a", "b-c", ""));
    expect(jobHash("ns.a", "bc", "d")).not.toBe(jobHash("ns.a", "b", "cd"));
    expect(jobHash("ns", "a", "\0b")).not.toBe(jobHash("ns", "a", "b"));
  });

  it("uses the whole alphabet evenly at every position", () => {
    const samples = 4_000;
    const counts = Array.from({ length: 20 }, () => new Map<string, number>());
    for (let index = 0; index < samples; index += 1) {
      for (const [position, letter] of [...jobHash("ns.rel", "default", String(index))].entries()) {
        counts[position]?.set(letter, (counts[position]?.get(letter) ?? 0) + 1);
      }
    }
    const expected = samples / 32;
    for (const count of counts) {
      expect(count.size).toBe(32);
      for (const seen of count.values()) expect(Math.abs(seen - expected)).toBeLessThan(6 * Math.sqrt(expected));
    }
  });

  it("stays the same for ever: records and Jobs of earlier versions carry it", () => {
    expect(jobHash("millrace.millrace", "default", "31a89a91-43d8-4786-a195-9b25cec28a44")).toMatchInlineSnapshot(
      `"idtrnarfizitadhv6hto"`,
    );
  });

  it("queues and instances cannot hold the separator", () => {
    for (const text of ["a\0b", "", "A", "a.b", "-a", "a-", "a".repeat(41), "a*", "a>", "a b"])
      expect(QUEUE_PATTERN.test(text)).toBe(false);
    for (const text of ["a", "a-b", "0", "a".repeat(40)]) expect(QUEUE_PATTERN.test(text)).toBe(true);
    expect(INSTANCE_PATTERN.test("ns.rel\0")).toBe(false);
  });
});

describe("N2: the name of a Job", () => {
  it("is a DNS-1123 label of at most 57 characters for any prefix and attempt below 10 000", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.integer({ min: 1, max: 9_999 }), (prefix, attempt) => {
        const name = jobName(prefix, jobHash("ns.rel", "q", prefix), attempt);
        expect(name).toMatch(DNS_LABEL);
        expect(name.length).toBeLessThanOrEqual(57);
        expect(name.endsWith(`-a${attempt}`)).toBe(true);
      }),
    );
  });

  it.each([
    ["my-job", "my-job"],
    ["My Job_2", "my-job-2"],
    ["--x--", "x"],
    ["日本", "job"],
    ["", "job"],
    ["a".repeat(29) + "-b", "a".repeat(29)],
  ])("bends the prefix %j into %j", (prefix, bent) => {
    expect(namePrefix(prefix)).toBe(bent);
  });
});

describe("N3, N6: message hash, selector, label values", () => {
  it("N3: the message hash is the SHA-256 of the bytes", () => {
    expect(messageHash(new TextEncoder().encode("abc"))).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  });

  it("N6: the selector carries the instance", () => {
    expect(jobSelector("ns.rel")).toBe("app.kubernetes.io/managed-by=millrace,millrace.dev/instance=ns.rel");
  });

  it.each([
    ["", true],
    ["a", true],
    ["a.b_c-D", true],
    ["-a", false],
    ["a b", false],
    ["ä", false],
    ["a".repeat(63), true],
    ["a".repeat(64), false],
  ])("knows whether %j is a label value", (text, valid) => {
    expect(isLabelValue(text)).toBe(valid);
  });
});
