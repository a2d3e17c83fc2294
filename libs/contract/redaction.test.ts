import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { redact, redactedTail, secretsOf, tail } from "./redaction.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("secrets of a Job", () => {
  it("are the literal values of variables with telling names, the longest first, as the container gets them", () => {
    const secrets = secretsOf([
      {
        env: [
          { name: "API_TOKEN", value: "token-1" },
          { name: "Db_Password", value: "pa$$word" },
          { name: "GREETING", value: "hello" },
          { name: "KEY", value: "abc" },
          { name: "FROM_SECRET" },
        ],
      },
      {},
      { env: [{ name: "aws_credentials_file", value: "/var/run/aws" }] },
    ]);
    expect(secrets).toEqual([
      { name: "aws_credentials_file", value: "/var/run/aws" },
      { name: "API_TOKEN", value: "token-1" },
      { name: "Db_Password", value: "pa$word" },
    ]);
  });
});

describe("redaction", () => {
  const secrets = secretsOf([
    {
      env: [
        { name: "SHORT_KEY", value: "abcd" },
        { name: "LONG_KEY", value: "abcd.efgh" },
        { name: "PEM_KEY", value: "-----BEGIN\nline-1\nline-2\nEND-----" },
      ],
    },
  ]);

  it.each([
    [
      "every occurrence, the longest value where several fit",
      "abcd abcd.efgh abcd",
      "[redacted SHORT_KEY] [redacted LONG_KEY] [redacted SHORT_KEY]",
    ],
    ["values are text, not patterns", "abcdXefgh", "[redacted SHORT_KEY]Xefgh"],
    ["values of several lines", "a\n-----BEGIN\nline-1\nline-2\nEND-----\nb", "a\n[redacted PEM_KEY]\nb"],
    ["a value whose start was cut off", "line-2\nEND-----\nb", "[redacted PEM_KEY]\nb"],
    ["the end of a value in the middle of a line is none", "x line-2\nEND-----", "x line-2\nEND-----"],
    ["nothing else", "hello", "hello"],
  ])("%s", (_what, text, redacted) => {
    expect(redact(text, secrets)).toBe(redacted);
  });

  it("a value at the start is not taken for the end of one", () => {
    const [secret] = secretsOf([{ env: [{ name: "KEY", value: "aaaaa" }] }]);
    expect(redact("aaaaa b", secret === undefined ? [] : [secret])).toBe("[redacted KEY] b");
  });

  it("no secret is left in any text, wherever it was cut", () => {
    const value = fc.string({ minLength: 4, maxLength: 12 });
    const piece = fc.oneof(fc.string({ maxLength: 5 }), value);
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 3 }), fc.array(piece), fc.nat(), (values, pieces, at) => {
        const text = pieces
          .flatMap((each, index) => [each, values[index % values.length] ?? ""])
          .join("")
          .slice(at % 20);
        const found = secretsOf([
          { env: values.map((each, index) => ({ name: `KEY_${index}`, value: each.replaceAll("$", "$$$$") })) },
        ]);
        const rest = redact(text, found).replaceAll(/\[redacted KEY_\d\]/g, "\0");
        for (const each of values) expect(rest).not.toContain(each);
      }),
      { seed: 20261122, numRuns: 500 },
    );
  });
});

describe("the tail of a log", () => {
  it.each([
    ["all of a short one", "one\ntwo\n", 8, "one\ntwo\n"],
    ["whole lines only", "one\ntwo\nthree\n", 9, "three\n"],
    ["a cut that is at a line's start keeps that line", "one\ntwo\nsix\n", 8, "two\nsix\n"],
    ["a line that is longer than the tail is cut", "a long line\n", 5, "line\n"],
    ["whole characters only", "ääää", 5, "ää"],
    ["nothing", "one\n", 0, ""],
  ])("%s", (_what, text, maxBytes, kept) => {
    expect(tail(bytes(text), maxBytes)).toBe(kept);
  });

  it("is never longer than asked for, is the end, and starts where a character does", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 60 }), fc.nat(80), (text, maxBytes) => {
        const kept = tail(bytes(text), maxBytes);
        expect(bytes(kept).length).toBeLessThanOrEqual(maxBytes);
        expect(text.endsWith(kept)).toBe(true);
      }),
      { seed: 20261122, numRuns: 500 },
    );
  });

  it("is cut after secrets were replaced, so that no half of one is left", () => {
    const secrets = secretsOf([{ env: [{ name: "MY_TOKEN", value: "s3cr3t-value" }] }]);
    expect(redactedTail("log in with s3cr3t-value", secrets, 9)).toBe("MY_TOKEN]");
    expect(redactedTail("one\ns3cr3t-value\n", secrets, 64)).toBe("one\n[redacted MY_TOKEN]\n");
  });
});

it("each line of a key of many lines is a secret", () => {
  const secrets = secretsOf([
    { env: [{ name: "PRIVATE_KEY", value: "-----BEGIN-----\nMIIEvQIBADANBgkqhkiG\nab\n-----END-----" }] },
  ]);
  expect(redact("got MIIEvQIBADANBgkqhkiG and ab", secrets)).toBe("got [redacted PRIVATE_KEY] and ab");
  expect(redact("x -----BEGIN-----\nMIIEvQIBADANBgkqhkiG\nab\n-----END----- y", secrets)).toBe("x [redacted PRIVATE_KEY] y");
});
