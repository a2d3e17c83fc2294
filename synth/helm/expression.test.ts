import { describe, expect, it } from "vitest";
import {
  allOf,
  anyOf,
  argument,
  choose,
  condition,
  Expression,
  expressionOf,
  filled,
  include,
  not,
  orElse,
  pieces,
  raw,
} from "./expression.ts";
import { bool, int, references, text } from "./values.ts";

const v = references({
  replicas: int(1, "Replicas."),
  name: text("x", "Name."),
  enabled: bool(false, "Enabled."),
});

describe("an expression", () => {
  it("cannot be computed with while the chart is written", () => {
    // @ts-expect-error a placeholder plus one is nonsense
    expect(() => v.replicas + 1).not.toThrow();
    // @ts-expect-error a placeholder is not greater than anything
    expect(() => v.replicas > 2).not.toThrow();
    // @ts-expect-error always true
    expect(v.enabled ? 1 : 2).toBe(1);
    // @ts-expect-error a number is not a string
    const wrong: Expression<string> = v.replicas;
    expect(wrong).toBe(v.replicas);
    // @ts-expect-error misspelt
    expect(v.replica).toBeUndefined();
  });

  it("becomes text in a template string, and keeps its type as a whole value", () => {
    expect(pieces(`${v.replicas}`)).toMatchObject([{ direct: false }]);
    expect(pieces(v.replicas.toToken())).toMatchObject([{ direct: true, expression: { kind: "int" } }]);
  });

  it("is found again in a string, whatever surrounds it", () => {
    expect(pieces(`a ${v.name} "b" ${v.replicas}`)).toEqual([
      { literal: "a " },
      { expression: new Expression("$.Values.name", "string"), direct: false },
      { literal: ' "b" ' },
      { expression: new Expression("$.Values.replicas", "int"), direct: false },
    ]);
    expect(pieces("")).toEqual([]);
  });
});

describe("composition", () => {
  it("never lets a number become 1e+06", () => {
    expect(argument(v.replicas)).toBe("($.Values.replicas | int64)");
    expect(expressionOf(`${v.replicas}`).code).toBe("($.Values.replicas | int64)");
  });

  it("puts brackets around everything but a path", () => {
    expect(argument(v.name)).toBe("$.Values.name");
    expect(argument(include("app.name"))).toBe('(include "app.name" $)');
    expect(argument(condition("eq 1 1"))).toBe("(eq 1 1)");
  });

  it("makes one printf of a text with expressions", () => {
    expect(expressionOf(`100% "${v.name}":${v.replicas}\n`).code).toBe(
      'printf "100%% \\"%v\\":%v\\n" $.Values.name ($.Values.replicas | int64)',
    );
    expect(expressionOf("50%").code).toBe('"50%"');
  });

  it("makes conditions of conditions, and texts of them", () => {
    expect(allOf(v.enabled, not(filled(v.name))).code).toBe('and $.Values.enabled (not (ne $.Values.name ""))');
    expect(anyOf(v.enabled, filled(raw('include "x" $'))).code).toBe('or $.Values.enabled (ne (include "x" $) "")');
    expect(choose(v.enabled, "a", `${v.replicas}`).code).toBe('ternary "a" (($.Values.replicas | int64)) $.Values.enabled');
  });

  it("passes arguments to a named template", () => {
    expect(include("image", { tag: orElse(v.name, "1"), registry: "a" }).code).toBe(
      'include "image" (dict "tag" ($.Values.name | default "1") "registry" "a")',
    );
    expect(orElse(v.name, raw("$.Chart.AppVersion")).code).toBe("$.Values.name | default $.Chart.AppVersion");
  });
});
