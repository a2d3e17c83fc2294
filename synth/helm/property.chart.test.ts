import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1ConfigMap, V1Deployment } from "@kubernetes/client-node";
import { ApiObject, App, Chart } from "cdk8s";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { type Helm, helmCommand } from "../testing/helm-command.ts";
import { interpretation } from "../testing/interpretation.ts";
import { schemaValues, writtenForHelm } from "../testing/schema-values.ts";
import { writeChart } from "./chart-files.ts";
import { given, items, spread } from "./collections.ts";
import { type Expression, lines, not, optional } from "./expression.ts";
import { ExpressionResolver } from "./resolver.ts";
import { manifest } from "./templated.ts";
import { block, bool, int, references, section, text } from "./values.ts";
import { valuesSchema } from "./values-files.ts";
import type { Json } from "./yaml.ts";

type StringMap = { [key: string]: string };
const strings = { additionalProperties: { type: "string" } };

const values = {
  word: text("plain", "A word."),
  other: text("", "Another."),
  on: bool(true, "A switch."),
  size: int(1_073_741_824, "A number."),
  deep: section("Further down.", { word: text("x", "A word."), count: int(1, "A number.", { minimum: 0, maximum: 9 }) }),
  map: block<StringMap>({}, "A map.", strings),
  more: block<StringMap>({}, "Another map.", strings),
  names: block<string[]>([], "A list.", { items: { type: "string" } }),
  variables: block<{ name: string }[]>([], "A list of maps.", {
    items: { type: "object", required: ["name"], properties: { name: { type: "string" }, value: { type: "string" } } },
  }),
  anything: block<{ [key: string]: object }>({}, "A map of anything."),
};
const v = references(values);

/** Each way of putting a value into an object, in each place where it may be. */
function sample(): App {
  const app = new App({ resolvers: [new ExpressionResolver()] });
  const part = new Chart(app, "part");
  manifest<V1ConfigMap>(part, "config", {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "config", labels: { "own/label": "own", ...spread(v.map, v.more) }, annotations: spread(v.more) },
    data: {
      whole: v.word,
      part: `{{ ${v.word} }} 100% "${v.size}" ${v.on} $x`,
      number: `${v.size}`,
      boolean: `${v.on}`,
      optional: optional(v.other),
      file: lines(v.deep.word),
      given: given(v.on, `${v.deep.word}-${v.deep.count}`),
      [`key-${v.deep.count}`]: "a key",
      ...spread(v.map),
    },
  });
  manifest<V1Deployment>(part, "deployment", {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "deployment" },
    spec: {
      replicas: v.size,
      paused: v.on,
      selector: {},
      template: {
        metadata: { labels: { app: v.word, ...spread(v.more) } },
        spec: {
          affinity: v.anything as Expression<object>,
          nodeSelector: given(not(v.on), { one: "1", ...spread(v.map) }),
          containers: [
            {
              name: "x",
              args: ["a", v.word, items(v.names), `${v.size}`, given(v.on, "last")],
              command: [items(v.names)],
              env: [given(v.on, { name: "ON", value: v.word }), { name: "A", value: "b" }, items(v.variables)],
              resources: { limits: v.map },
            },
          ],
        },
      },
    },
  });
  return app;
}

const SOAK = process.env["SOAK"] === "1";

let folder: string;
let helm: Helm;
const app = sample();
beforeAll(async () => {
  helm = await helmCommand();
  folder = await mkdtemp(join(tmpdir(), "chart-"));
  const about = { name: "sample", version: "1.0.0", description: "A sample." };
  await writeChart(join(folder, "sample"), {
    about,
    banner: "Generated.",
    app,
    values,
    helpers: {},
    checks: [],
    notes: "",
    readme: "",
  });
});
afterAll(() => rm(folder, { recursive: true }));

const defaults = Object.fromEntries(
  Object.entries(values).map(([key, node]) => [key, "initial" in node ? node.initial : { word: "x", count: 1 }]),
);

/** The last line ends of a text file are Helm's to make: one. */
function withOneLineEnd(document: Json): Json {
  const { data } = document as { data?: { file?: string } };
  if (data?.file !== undefined) data.file = `${data.file.replace(/\n+$/u, "")}\n`;
  return document;
}

it(
  "any values of the schema render to what the tree says, when it is read without a template language",
  async () => {
    const arbitrary = schemaValues(valuesSchema(values)) as fc.Arbitrary<{ [key: string]: Json }>;
    const property = fc.asyncProperty(arbitrary, async (given) => {
      const file = join(folder, "given.json");
      await writeFile(file, writtenForHelm(given));
      const { code, stdout, stderr } = await helm("template", "x", join(folder, "sample"), "-f", file);
      expect(stderr).toBe("");
      expect(code).toBe(0);
      const merged = { ...defaults, ...given, deep: { ...(defaults["deep"] as object), ...((given["deep"] ?? {}) as object) } };
      const rendered = parseAllDocuments(stdout).map((document) => withOneLineEnd(document.toJS() as Json));
      const objects = app.node.findAll().filter((construct) => ApiObject.isApiObject(construct)) as ApiObject[];
      expect(rendered).toEqual(objects.map((object) => withOneLineEnd(interpretation(object.toJson(), merged as Json))));
    });
    await fc.assert(property, { numRuns: SOAK ? 2_000 : 40, seed: 1, endOnFailure: !SOAK });
  },
  SOAK ? 3_600_000 : undefined,
);
