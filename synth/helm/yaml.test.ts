import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { given, items, spread } from "./collections.ts";
import { condition, Expression, lines, optional, raw, textWhen } from "./expression.ts";
import { type Json, textTemplate, toTemplate } from "./yaml.ts";

const name = raw("$.Values.name");
const count = new Expression<number>("$.Values.count", "int");
const enabled = new Expression<boolean>("$.Values.enabled", "bool");
const tolerations = new Expression<string[]>("$.Values.tolerations", "block");

/** What Helm makes of the only action in a template without expressions. */
const rendered = (template: string): string => template.replaceAll('{{ "{{" }}', "{{");

describe("fields", () => {
  it("keep the type of the value", () => {
    expect(toTemplate({ a: name.toToken(), b: count.toToken(), c: enabled.toToken() })).toBe(
      "a: {{ $.Values.name | quote }}\nb: {{ $.Values.count | int64 }}\nc: {{ $.Values.enabled }}\n",
    );
  });

  it("are strings where the source says so", () => {
    expect(toTemplate({ a: `${count}`, b: `${enabled}`, c: `n-${count}` })).toBe(
      'a: {{ ($.Values.count | int64) | quote }}\nb: {{ $.Values.enabled | quote }}\nc: {{ printf "n-%v" ($.Values.count | int64) | quote }}\n',
    );
  });

  it("may have an expression as their key", () => {
    expect(toTemplate({ labels: { [`${name}`]: "x" } })).toBe("labels:\n  {{ $.Values.name | quote }}: x\n");
  });

  it("of a block disappear with it, and are indented to where they stand", () => {
    expect(toTemplate({ spec: { tolerations: tolerations.toToken() } })).toBe(
      "spec:\n  {{- with $.Values.tolerations }}\n  tolerations:\n    {{- toYaml . | nindent 4 }}\n  {{- end }}\n",
    );
    expect(toTemplate({ class: optional(name).toToken() })).toBe(
      "{{- with $.Values.name }}\nclass: {{ . | quote }}\n{{- end }}\n",
    );
  });

  it("of several lines are block scalars, or quoted when a block scalar cannot hold them", () => {
    const template = toTemplate({ data: { "a.conf": lines(raw('include "conf" $')).toToken() } });
    expect(template).toMatch(
      /^data:\n {2}\{\{- \$lines := include "conf" \$ \}\}\n {2}a\.conf: \{\{ if regexMatch ".*" \$lines \}\}/u,
    );
    expect(template).toMatch(/\{\{ \$lines \| quote \}\}\{\{ else \}\}\|\{\{ \$lines \| nindent 4 \}\}\{\{ end \}\}\n$/u);
  });

  it("that are empty and mean something stay", () => {
    expect(toTemplate({ podSelector: {}, args: [], nothing: undefined })).toBe("podSelector: {}\nargs: []\n");
  });
});

describe("lists", () => {
  it("may hold maps that begin with a block", () => {
    expect(toTemplate({ list: [{ tolerations: tolerations.toToken(), name: "x" }, ["y"], {}] })).toBe(
      'list:\n  -\n    {{- with $.Values.tolerations }}\n    tolerations:\n      {{- toYaml . | nindent 6 }}\n    {{- end }}\n    name: x\n  - - "y"\n  - {}\n',
    );
  });

  it("refuse a block as an element: it would be a list in a list", () => {
    expect(() => toTemplate({ list: [tolerations.toToken()] })).toThrow("must be the value of a key");
  });
});

describe("what is there only sometimes", () => {
  const map = new Expression<{ [key: string]: string }>("$.Values.map", "block");
  const other = new Expression<{ [key: string]: string }>("$.Values.other", "block");
  const on = condition("$.Values.on");
  const names = items(new Expression<string[]>("$.Values.names", "block")).toToken();

  it("is a field with its key, or an element with its dash", () => {
    expect(toTemplate({ a: given(on, { b: 1 }), list: ["x", given(on, "y")] })).toBe(
      '{{- if $.Values.on }}\na:\n  b: 1\n{{- end }}\nlist:\n  - x\n  {{- if $.Values.on }}\n  - "y"\n  {{- end }}\n',
    );
  });

  it("may be the user's elements, among ours or alone", () => {
    expect(toTemplate({ list: ["x", names] })).toBe(
      "list:\n  - x\n  {{- with $.Values.names }}\n  {{- toYaml . | nindent 2 }}\n  {{- end }}\n",
    );
    expect(toTemplate({ list: [names] })).toBe("{{- with $.Values.names }}\nlist:\n  {{- toYaml . | nindent 2 }}\n{{- end }}\n");
    expect(toTemplate({ list: [names, names] })).toContain(
      "with concat ($.Values.names | default list) ($.Values.names | default list)",
    );
    expect(() => toTemplate({ list: names })).toThrow("must be an element of a list");
  });

  it("may be the user's entries, without those that we have ourselves, once even when they are spread twice", () => {
    expect(toTemplate({ labels: { app: "x", ...spread(map), [`${name}`]: "z" } })).toBe(
      'labels:\n  app: x\n  {{ $.Values.name | quote }}: z\n  {{- with omit ($.Values.map | default dict) "app" $.Values.name }}\n  {{- toYaml . | nindent 2 }}\n  {{- end }}\n',
    );
    const merged = "merge dict ($.Values.map | default dict) ($.Values.other | default dict)";
    for (const users of [spread(map, other), { ...spread(map), ...spread(other) }]) {
      expect(toTemplate({ labels: users })).toBe(`{{- with ${merged} }}\nlabels:\n  {{- toYaml . | nindent 2 }}\n{{- end }}\n`);
    }
  });

  it("cannot be half of a value", () => {
    expect(() => toTemplate({ a: { ...given(on, { b: 1 }), c: 2 } })).toThrow("given(…) must be a whole value");
    expect(() => toTemplate({ a: `x ${tolerations}` })).toThrow('kind "block" has no value that could be part of a text');
    expect(() => toTemplate({ a: textWhen(on, "x") })).toThrow('kind "action" has no value');
    expect(textTemplate(textWhen(on, `a ${name}`, "b"))).toBe("{{ if $.Values.on }}a {{ $.Values.name }}{{ else }}b{{ end }}");
  });
});

describe("literal text", () => {
  it("keeps its braces out of Helm's hands", () => {
    expect(toTemplate({ summary: "{{ $labels.queue }} is slow" })).toBe('summary: "{{ "{{" }} $labels.queue }} is slow"\n');
    expect(textTemplate(`{${name}}`)).toBe('{{ "{" }}{{ $.Values.name }}}');
    expect(textTemplate(`{{x}} ${name} ${count}`)).toBe('{{ "{{" }}x}} {{ $.Values.name }} {{ $.Values.count | int64 }}');
  });

  it.each([
    "yes",
    "Off",
    "null",
    "~",
    "1",
    "1e3",
    "0x1f",
    "012",
    "1:30",
    "2026-01-01",
    ".inf",
    "- a",
    "a: b",
    "a #b",
    "a:",
    "*a",
    "",
    " a",
    "=",
    "<<",
  ])("%j stays a string", (value) => {
    for (const version of ["1.1", "1.2"] as const) {
      expect(parse(toTemplate({ value, [value]: 1 }), { version })).toEqual({ value, [value]: 1 });
    }
  });

  it("of any kind is read back as it was", () => {
    // The private-use characters belong to the tokens.
    const string = fc.string({ unit: "binary" }).filter((value) => !/[\uE000-\uE003]/u.test(value) && value !== "__proto__");
    const scalar = fc.oneof(
      string,
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.constantFrom("{{", "}}", "%v", '{{ "', "\n", "\u2028"),
    );
    const { tree } = fc.letrec<{ tree: Json }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        scalar,
        fc.array(tie("tree"), { maxLength: 3 }),
        fc.dictionary(string, tie("tree"), { maxKeys: 3, noNullPrototype: true }),
      ),
    }));
    fc.assert(
      fc.property(tree, (value) => {
        const template = rendered(toTemplate({ value }));
        expect(parse(template, { version: "1.1" })).toEqual({ value });
        expect(parse(template, { version: "1.2" })).toEqual({ value });
      }),
      { numRuns: 500 },
    );
  });
});
