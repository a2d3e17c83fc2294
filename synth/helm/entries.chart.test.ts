import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1ConfigMap } from "@kubernetes/client-node";
import { App, Chart } from "cdk8s";
import { Construct } from "constructs";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { type Helm, helmCommand } from "../testing/helm-command.ts";
import { hostileText, schemaValues, writtenForHelm } from "../testing/schema-values.ts";
import { writeChart } from "./chart-files.ts";
import { given, spread } from "./collections.ts";
import { eachEntry, when } from "./documents.ts";
import { checkEach, textEach } from "./entries.ts";
import { argument, raw } from "./expression.ts";
import { ExpressionResolver } from "./resolver.ts";
import { manifest } from "./templated.ts";
import { block, bool, entries, int, references, section, text } from "./values.ts";
import { valuesSchema } from "./values-files.ts";
import type { Json } from "./yaml.ts";

/** A default that would break out of a careless template. */
const AWKWARD = 'it\'s "{{ x }}" \\ `y` %v $z \u2028 ü\n\ttab';

const values = {
  on: bool(true, "A switch."),
  servers: entries(
    "Servers by name.",
    "^[a-z][a-z0-9-]*$",
    {
      image: text("", "Its image."),
      greeting: text(AWKWARD, "What it says."),
      size: int(1_073_741_824, "A number.", { minimum: 0 }),
      open: bool(true, "Whether it is open."),
      labels: block<{ [key: string]: string }>({ a: "1", b: "yes" }, "Its labels.", { additionalProperties: { type: "string" } }),
      names: block<string[]>(["x", "y"], "Names.", { items: { type: "string" } }),
      deep: section("Further down.", { level: text("info", "A word."), count: int(3, "A number.") }),
    },
    ["image"],
  ),
};
const v = references(values);

/** Every kind of field, in the places where one may stand. */
function sample(): App {
  const app = new App({ resolvers: [new ExpressionResolver()] });
  const part = new Chart(app, "part");
  const each = new Construct(part, "each");
  const { name, values: own } = eachEntry(each, "server", v.servers);
  const inner = new Construct(each, "inner");
  when(inner, v.on);
  manifest<V1ConfigMap>(inner, "config", {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: `config-${name}`, labels: { own: "own", ...spread(own.labels) } },
    data: {
      image: own.image,
      greeting: own.greeting,
      size: `${own.size}`,
      open: given(own.open, "it is"),
      names: raw(`${own.names.code} | toJson`),
      deep: `${own.deep.level}-${own.deep.count}`,
    },
  });
  return app;
}

let folder: string;
let helm: Helm;
beforeAll(async () => {
  helm = await helmCommand();
  folder = await mkdtemp(join(tmpdir(), "chart-"));
  await writeChart(join(folder, "sample"), {
    about: { name: "sample", version: "1.0.0", description: "A sample." },
    banner: "Generated.",
    app: sample(),
    values,
    helpers: {},
    checks: [
      checkEach("server", v.servers, ({ name, values: own }) => ({
        unless: `ne ${argument(own.image)} "bad"`,
        message: `servers.${name}: "${own.image}" is bad`,
      })),
    ],
    notes: `Servers:\n${textEach("server", v.servers, ({ name, values: own }) => `- ${name}: ${own.size} {{x}}\n`)}That is all.`,
    readme: "# Sample",
  });
});
afterAll(() => rm(folder, { recursive: true }));

async function run(servers: Json, ...command: string[]) {
  const file = join(folder, "given.json");
  await writeFile(file, writtenForHelm({ servers }));
  return helm(...(command.length === 0 ? ["template", "x"] : command), join(folder, "sample"), "-f", file);
}

async function render(servers: Json): Promise<unknown[]> {
  const { code, stdout, stderr } = await run(servers);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return parseAllDocuments(stdout).flatMap((document) => (document.contents === null ? [] : [document.toJS()]));
}

// biome-ignore lint/suspicious/noExplicitAny: what the schema accepts
type Server = any;

const expected = (name: string, server: Server): unknown => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name: `config-${name}`, labels: { ...(server.labels ?? { a: "1", b: "yes" }), own: "own" } },
  data: {
    image: server.image,
    greeting: server.greeting ?? AWKWARD,
    size: String(server.size ?? 1_073_741_824),
    ...((server.open ?? true) ? { open: "it is" } : {}),
    names: expect.toSatisfy((names: string) => JSON.stringify(JSON.parse(names)) === JSON.stringify(server.names ?? ["x", "y"])),
    deep: `${server.deep?.level ?? "info"}-${server.deep?.count ?? 3}`,
  },
});

describe("entries", () => {
  it("of which there are none make nothing", async () => {
    expect(await render({})).toEqual([]);
  });

  it("have the defaults of what they lack, in the order of their names", async () => {
    expect(await render({ b: { image: "b" }, a: { image: "a", deep: { count: 1_000_000 } } })).toEqual([
      expected("a", { image: "a", deep: { count: 1_000_000 } }),
      expected("b", { image: "b" }),
    ]);
  });

  it("may set to nothing what has a default", async () => {
    const empty = { image: "a", greeting: "", size: 0, open: false, labels: {}, names: [], deep: { level: "", count: 0 } };
    expect(await render({ a: empty })).toEqual([expected("a", empty)]);
  });

  it("take any values of their schema", async () => {
    const schema = (valuesSchema(values)["properties"] as { servers: { [keyword: string]: Json } }).servers;
    const arbitrary = schemaValues(schema, { ".[].image": hostileText.filter((image) => image !== "bad") });
    await fc.assert(
      fc.asyncProperty(arbitrary, async (servers) => {
        const named = Object.entries(servers as { [name: string]: Server }).toSorted(([a], [b]) => (a < b ? -1 : 1));
        expect(await render(servers)).toEqual(named.map(([name, server]) => expected(name, server)));
      }),
      { numRuns: 15, seed: 1 },
    );
  });

  it.each([
    [{ a: {} }, "at '/servers/a': missing property 'image'"],
    [{ a: null }, "at '/servers/a': got null, want object"],
    [{ A: { image: "a" } }, "at '/servers': additional properties 'A' not allowed"],
    [{ a: { image: "a", colour: "red" } }, "at '/servers/a': additional properties 'colour' not allowed"],
    [{ a: { image: "a", size: null } }, "at '/servers/a/size': got null, want integer"],
    [{ a: { image: "a", deep: { count: "3" } } }, "at '/servers/a/deep/count': got string, want integer"],
    [{ good: { image: "good" }, worse: { image: "bad" } }, 'servers.worse: "bad" is bad'],
  ])("refuse %j with its path", async (servers, message) => {
    const { code, stderr } = await run(servers);
    expect(stderr).toContain(message);
    expect(code).toBe(1);
  });

  it("are told of in the notes", async () => {
    const { stdout } = await run({ b: { image: "b" }, a: { image: "a", size: 1_000_000 } }, "install", "x", "--dry-run=client");
    expect(stdout).toContain("NOTES:\nServers:\n- a: 1000000 {{x}}\n- b: 1073741824 {{x}}\nThat is all.");
  });
});
