import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { block, bool, int, oneOf, openSection, references, section, text } from "./values.ts";
import { valuesSchema, valuesTable, valuesYaml } from "./values-files.ts";

const tree = {
  global: openSection("Shared.", { registry: text("", "Registry.") }),
  server: section("The server.", {
    replicas: int(1, "Replicas.", { minimum: 0, maximum: 5 }),
    level: oneOf("info", "Level a|b.", ["info", "debug"]),
    enabled: bool(true, "Whether there is one."),
    labels: block<{ [key: string]: string }>({ a: "b" }, "Labels.", { additionalProperties: { type: "string" } }),
  }),
};

describe("values.yaml", () => {
  it("holds every default", () => {
    expect(parse(valuesYaml(tree))).toEqual({
      global: { registry: "" },
      server: { replicas: 1, level: "info", enabled: true, labels: { a: "b" } },
    });
  });

  it("explains each value above it", () => {
    expect(valuesYaml(tree)).toContain("\n  # -- Replicas. From 0 to 5.\n  replicas: 1\n");
    expect(valuesYaml(tree)).toContain('\n  # -- Level a|b. One of "info", "debug".\n  level: info\n');
    expect(valuesYaml(tree)).toContain("\n# The server.\nserver:\n");
  });

  it("breaks long explanations into lines of comment", () => {
    const yaml = valuesYaml({ a: text("", "word ".repeat(60).trim()) });
    expect(yaml.split("\n").every((line) => line.length <= 110)).toBe(true);
    expect(parse(yaml)).toEqual({ a: "" });
  });

  it.each(["yes", "0123", "1.10", "null", "a: b", "#x"])("keeps the string %j a string", (value) => {
    expect(parse(valuesYaml({ value: text(value, "Value.") }), { version: "1.1" })).toEqual({ value });
  });
});

describe("values.schema.json", () => {
  it("is closed, but for what Helm shares between charts", () => {
    expect(valuesSchema(tree)).toMatchObject({
      additionalProperties: false,
      required: ["global", "server"],
      properties: {
        global: { additionalProperties: true },
        server: {
          additionalProperties: false,
          required: ["replicas", "level", "enabled"],
          properties: { replicas: { type: "integer", minimum: 0, maximum: 5 }, level: { enum: ["info", "debug"] } },
        },
      },
    });
    expect(valuesSchema({})).toMatchObject({ properties: { global: { type: "object" } } });
  });
});

describe("references", () => {
  it("have the paths of the values", () => {
    const v = references(tree);
    expect(v.server.replicas).toMatchObject({ code: "$.Values.server.replicas", kind: "int" });
    expect(v.server.enabled).toMatchObject({ code: "$.Values.server.enabled", kind: "bool" });
    expect(v.server.labels.kind).toBe("block");
  });

  it("refuse a key that a template could not say", () => {
    expect(() => references({ "pod-labels": text("", "") })).toThrow("$.Values.pod-labels");
  });
});

describe("the README's table", () => {
  it("has a row for each value", () => {
    const table = valuesTable(tree);
    expect(table.trim().split("\n")).toHaveLength(2 + 5);
    expect(table).toContain('| `server.level` | string | `"info"` | Level a\\|b. One of "info", "debug". |');
  });
});
