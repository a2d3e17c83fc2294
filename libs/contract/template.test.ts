import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { literal, ParamsSchema, substitute } from "./template.ts";

/**
 * The kubelet's `third_party/forked/golang/expansion.Expand`, line by line: `$$` is an escaped `$`, `$(name)` is replaced when it is
 * known and stays when not, a lone `$` stays.
 */
function kubeletExpand(input: string, vars: Readonly<Record<string, string>>): string {
  let out = "";
  let checkpoint = 0;
  for (let cursor = 0; cursor < input.length; cursor += 1) {
    if (input[cursor] !== "$" || cursor + 1 >= input.length) continue;
    out += input.slice(checkpoint, cursor);
    const rest = input.slice(cursor + 1);
    let advance = 1;
    if (rest[0] === "$") {
      out += "$";
    } else if (rest[0] === "(") {
      const end = rest.indexOf(")");
      if (end < 0) {
        out += "$(";
      } else {
        const name = rest.slice(1, end);
        out += Object.hasOwn(vars, name) ? vars[name] : `$(${name})`;
        advance = end + 1;
      }
    } else {
      out += `$${rest[0]}`;
    }
    cursor += advance;
    checkpoint = cursor + 1;
  }
  return out + input.slice(checkpoint);
}

const vars = { MILLRACE_QUEUE: "LEAKED", SECRET: "LEAKED", A: "LEAKED" };
const tricky = fc
  .array(fc.constantFrom("$", "(", ")", "$(", "$$", "$(MILLRACE_QUEUE)", "$(SECRET)", "$(params.x)", "A", "é", "\n"), {
    maxLength: 12,
  })
  .map((parts) => parts.join(""));
const value = fc.oneof(tricky, fc.string({ unit: "binary" }));

describe("the kubelet's expansion, as the simulation has it", () => {
  it.each([
    ["$(A)", "LEAKED"],
    ["$$(A)", "$(A)"],
    ["$$$(A)", "$LEAKED"],
    ["$(B)", "$(B)"],
    ["$(A", "$(A"],
    ["$", "$"],
    ["a$b", "a$b"],
    ["$$$$", "$$"],
  ])("%s becomes %s", (input, expanded) => {
    expect(kubeletExpand(input, vars)).toBe(expanded);
  });
});

describe("design §4.1: a parameter arrives literally in the container", () => {
  it.each(["$(MILLRACE_QUEUE)", "$$", "$(", "$", "$$$(SECRET)", "$(params.x)", ")", "$(A"])("%s", (text) => {
    expect(kubeletExpand(substitute("--x=$(params.x)", { x: text }), vars)).toBe(`--x=${text}`);
  });

  it("any value, wherever the template's author put it, next to whatever else", () => {
    const around = fc.constantFrom("", "a", "$(A)", "$$", " ", "--flag=", "(", ")");
    fc.assert(
      fc.property(value, around, around, (text, before, after) => {
        const expanded = kubeletExpand(substitute(`${before}$(params.x)${after}`, { x: text }), vars);
        expect(expanded).toBe(`${kubeletExpand(before, vars)}${text}${kubeletExpand(after, vars)}`);
      }),
      { numRuns: 2_000 },
    );
  });

  it("whole, in an environment variable", () => {
    fc.assert(fc.property(value, (text) => kubeletExpand(literal(text), vars) === text));
  });

  it("what is no string goes as JSON, and the author's own references stay the kubelet's", () => {
    expect(substitute("$(params.n) $(params.o) $(params.b)", { n: 1, o: { a: ["$"] }, b: false })).toBe('1 {"a":["$$"]} false');
    expect(substitute("$(MILLRACE_QUEUE) $$(params.x) $(other.x)", { x: "y" })).toBe("$(MILLRACE_QUEUE) $$(params.x) $(other.x)");
  });

  it("a parameter that was not given is empty, also when every object has a property of that name", () => {
    expect(substitute("[$(params.missing)$(params.constructor)$(params.toString)]", {})).toBe("[]");
  });
});

describe("design §4.1: parameters against the template's JSON Schema", () => {
  const schema = new ParamsSchema({
    params: {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      additionalProperties: false,
      required: ["name"],
      properties: {
        name: { type: "string", minLength: 1 },
        size: { type: "object", properties: { width: { type: "integer" } }, additionalProperties: { type: "number" } },
        tags: { type: "array", items: { type: "string" } },
        times: { type: "integer", default: 3 },
      },
    },
  });

  it.each([
    ["a wrong type", { name: 1 }, "params.name"],
    ["a wrong type deep below", { name: "x", size: { width: "wide" } }, "params.size.width"],
    ["a wrong type in a list", { name: "x", tags: ["a", 2] }, "params.tags[1]"],
    ["an unknown parameter", { name: "x", nmae: "y" }, "params.nmae"],
    ["a key with a slash", { name: "x", size: { "a/b~c": "x" } }, "params.size.a/b~c"],
    ["a missing parameter", {}, "params"],
  ])("%s is refused and named", (_what, params, path) => {
    expect(schema.check(params)).toMatchObject({ kind: "rejected", rejection: { code: "PARAMS_INVALID", path } });
  });

  it("a missing parameter is named in the reason", () => {
    expect(schema.check({})).toMatchObject({ rejection: { reason: expect.stringContaining("name") } });
  });

  it("fills defaults without touching what was given", () => {
    const given = Object.freeze({ name: "x" });
    expect(schema.check(given)).toEqual({ kind: "ok", value: { name: "x", times: 3 } });
  });

  it("N5: a key of 60 KB makes a path that fits into a header", () => {
    const answer = schema.check({ name: "x", size: { ["k".repeat(60_000)]: "y" } });
    expect(answer.kind === "rejected" ? answer.rejection.path.length : 0).toBeLessThanOrEqual(300);
  });

  it("a template without a schema takes none", () => {
    const none = new ParamsSchema({ params: undefined });
    expect(none.check({})).toEqual({ kind: "ok", value: {} });
    expect(none.check({ a: 1 })).toMatchObject({ kind: "rejected", rejection: { path: "params" } });
  });

  it.each([
    ["a reference to another host", { $ref: "https://example.com/schema.json" }],
    ["a reference to nothing", { $ref: "#/definitions/none" }],
    ["an invalid schema", { type: "strnig" }],
  ])("%s does not compile: nothing is ever fetched", (_what, params) => {
    expect(() => new ParamsSchema({ params })).toThrow();
  });
});
