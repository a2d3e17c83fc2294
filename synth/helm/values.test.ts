import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { block, bool, entries, entryReferences, int, oneOf, openSection, references, section, text } from "./values.ts";
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

describe("entries", () => {
  const servers = entries(
    "Servers by name.",
    "^[a-z]+$",
    {
      image: text("", "Its image."),
      port: int(80, "Its port.", { minimum: 1 }),
      deep: section("Further down.", { labels: block({ a: "b" }, "Labels.") }),
    },
    ["image"],
  );

  it("are an empty map in values.yaml, with a comment that says what one may hold", () => {
    const yaml = valuesYaml({ servers });
    expect(parse(yaml)).toEqual({ servers: {} });
    const [, comment] = yaml.split("servers: {}\n");
    expect(parse(comment?.replaceAll(/^# /gmu, "") ?? "")).toEqual({
      "<name>": { image: null, port: 80, deep: { labels: { a: "b" } } },
    });
    expect(comment).toContain("#   # -- Its image. Required.\n#   image:\n");
  });

  it("have a closed schema, which wants nothing but what has no default", () => {
    expect(valuesSchema({ servers })["properties"]).toMatchObject({
      servers: {
        additionalProperties: false,
        patternProperties: {
          "^[a-z]+$": {
            type: "object",
            additionalProperties: false,
            required: ["image"],
            properties: { port: { type: "integer", default: 80 }, deep: { additionalProperties: false } },
          },
        },
      },
    });
  });

  it("have a row for each field in the README's table", () => {
    const rows = valuesTable({ servers }).trim().split("\n").slice(2);
    expect(rows.map((row) => row.split(" | ").slice(0, 3).join(" | "))).toEqual([
      "| `servers` | object | `{}`",
      "| `servers.<name>.image` | string | ",
      "| `servers.<name>.port` | integer | `80`",
      '| `servers.<name>.deep.labels` | object | `{"a":"b"}`',
    ]);
  });

  it("are referred to with their defaults", () => {
    const v = references({ servers });
    expect(v.servers).toMatchObject({ code: "$.Values.servers", kind: "block" });
    const server = entryReferences(v.servers.fields, "$server");
    expect(server.port).toMatchObject({ code: 'dig "port" 80 $server', kind: "int" });
    expect(server.deep.labels).toMatchObject({ code: 'dig "deep" "labels" (dict "a" "b") $server', kind: "block" });
  });

  it("cannot be in entries, and only a single value can be required", () => {
    expect(() => entryReferences({ servers }, "$x")).toThrow("servers: entries cannot have entries");
    expect(() => entries("", "", { a: section("", {}) }, ["a"])).toThrow("a: only a single value can be required");
  });
});
