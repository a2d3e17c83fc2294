import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseStrictJson } from "./json.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const nested = (depth: number): string => `${"[".repeat(depth)}${"]".repeat(depth)}`;

/** JSON text whose objects may repeat keys, with a model of whether they do. */
const key = fc.constantFrom("a", "b", "c", "\\u0061", "d\\n", '\\"', "}", "{", ":", ",");
const decoded = (text: string): string => JSON.parse(`"${text}"`) as string;
interface Node {
  readonly text: string;
  readonly repeats: boolean;
}
const { tree } = fc.letrec<{ tree: Node; leaf: Node; list: Node; object: Node }>((tie) => ({
  leaf: fc
    .oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null))
    .map((value) => ({ text: JSON.stringify(value), repeats: false })),
  list: fc.array(tie("tree"), { maxLength: 3 }).map((nodes) => ({
    text: `[${nodes.map(({ text }) => text).join(" , ")}]`,
    repeats: nodes.some(({ repeats }) => repeats),
  })),
  object: fc.array(fc.tuple(key, tie("tree")), { maxLength: 4 }).map((entries) => ({
    text: `{${entries.map(([name, { text }]) => `"${name}" : ${text}`).join(",")}}`,
    repeats: new Set(entries.map(([name]) => decoded(name))).size < entries.length || entries.some(([, { repeats }]) => repeats),
  })),
  tree: fc.oneof({ maxDepth: 4 }, tie("leaf"), tie("list"), tie("object")),
}));

describe("D1: strict JSON", () => {
  it("takes no key for another message's that ends in a backslash, as V8 does", () => {
    const read = (text: string): unknown => {
      const outcome = parseStrictJson(bytes(text));
      return outcome.kind === "ok" ? outcome.value : outcome.problem;
    };
    for (const [index, ending] of ["caf\\\\", "caf\\u005c", "caf\\u005C"].entries()) {
      const before = `"before-${index}"`;
      expect(read(`{${before}:[{"n":1}],"${ending}" : {"${ending}":"x\\\\"}}`)).toEqual({
        [`before-${index}`]: [{ n: 1 }],
        "caf\\": { "caf\\": "x\\" },
      });
      expect(read(`{${before}:1,"caf\\u00e9":2}`)).toEqual({ [`before-${index}`]: 1, café: 2 });
    }
  });

  it("says of a key that ends in a backslash what it says of others", () => {
    expect(parseStrictJson(bytes('{"a\\\\":1,"a\\\\":2}'))).toMatchObject({ problem: expect.stringContaining("appears twice") });
    expect(parseStrictJson(bytes('{"a\\\\":1'))).toEqual({ kind: "invalid", problem: "the body is not JSON" });
    expect(parseStrictJson(bytes(`{"a\\\\":${nested(40)}}`))).toMatchObject({ problem: expect.stringContaining("deeper") });
  });

  it("reads whatever JSON.stringify writes, unchanged", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8 }), (value) => {
        fc.pre(!JSON.stringify(value).includes("__proto__"));
        const text = JSON.stringify(value);
        expect(parseStrictJson(bytes(text))).toEqual({ kind: "ok", value: JSON.parse(text) });
      }),
    );
  });

  it("refuses a repeated key at any depth, and only that", () => {
    fc.assert(
      fc.property(tree, ({ text, repeats }) => {
        expect(parseStrictJson(bytes(text)).kind).toBe(repeats ? "invalid" : "ok");
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ["a repeated key", '{"id":"a","id":"b"}', 'the key "id" appears twice in one object'],
    ["a repeated key written with an escape", '{"id":"a","\\u0069d":"b"}', 'the key "id" appears twice in one object'],
    ["a repeated key in an array's object", '[{"a":1,"a":1}]', 'the key "a" appears twice in one object'],
    ["__proto__", '{"__proto__":{"policy":true}}', "the key __proto__ is not allowed"],
    ["__proto__ written with escapes", '{"a":{"\\u005f_proto_\\u005f":1}}', "the key __proto__ is not allowed"],
    ["33 levels", nested(33), "the body is nested deeper than 32 levels"],
    ["a byte order mark", "\ufeff{}", "the body is not JSON: unexpected end or token"],
    ["an empty body", "", "the body is not JSON: unexpected end or token"],
    ["a trailing comma", '{"a":1,}', "the body is not JSON: unexpected token at position 7"],
    ["NaN", '{"a":NaN}', "the body is not JSON: unexpected end or token"],
  ])("refuses %s", (_what, text, problem) => {
    expect(parseStrictJson(bytes(text))).toEqual({ kind: "invalid", problem });
  });

  it.each([
    ["the same key in sibling objects", '[{"a":1},{"a":2}]'],
    ["the same key in a parent and its child", '{"a":{"a":{"a":1}}}'],
    ["keys and braces inside strings", '{"a":"{\\"a\\":1,\\"a\\":2}","b":"\\\\"}'],
    ["32 levels", nested(32)],
    ["__proto__ as a value", '{"a":"__proto__"}'],
  ])("accepts %s", (_what, text) => {
    expect(parseStrictJson(bytes(text))).toEqual({ kind: "ok", value: JSON.parse(text) });
  });

  it.each([
    ["a lone continuation byte", [0x22, 0x80, 0x22]],
    ["an overlong encoding", [0x22, 0xc0, 0xaf, 0x22]],
    ["an encoded surrogate", [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ["a cut-off sequence", [0x22, 0xe2, 0x82]],
  ])("refuses %s as invalid UTF-8", (_what, body) => {
    expect(parseStrictJson(Uint8Array.from(body))).toEqual({ kind: "invalid", problem: "the body is not valid UTF-8" });
  });

  it("never throws and never quotes the payload of what it refuses", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (body) => {
        expect(["ok", "invalid"]).toContain(parseStrictJson(body).kind);
      }),
    );
    const outcome = parseStrictJson(bytes('{"password": hunter2}'));
    expect(outcome).toMatchObject({ kind: "invalid", problem: expect.not.stringContaining("hunter2") });
  });

  it("reads a string as long as the largest body", () => {
    const text = JSON.stringify({ a: '\\"x'.repeat(16_000) });
    expect(parseStrictJson(bytes(text)).kind).toBe("ok");
  });
});
