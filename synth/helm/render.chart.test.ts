import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1ConfigMap, V1Deployment } from "@kubernetes/client-node";
import { App, Chart } from "cdk8s";
import { Construct } from "constructs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { type Helm, helmCommand } from "../testing/helm-command.ts";
import { writeChart } from "./chart-files.ts";
import { each, when } from "./documents.ts";
import { include, lines, optional } from "./expression.ts";
import { ExpressionResolver } from "./resolver.ts";
import { manifest } from "./templated.ts";
import { block, bool, int, references, text } from "./values.ts";

const values = {
  word: text("plain", "A word."),
  size: int(1_073_741_824, "A number that a float64 prints as 1.073741824e+09."),
  on: bool(false, "A switch."),
  names: block<string[]>(["a", "b"], "Names."),
  selector: block<{ [key: string]: string }>({}, "A map."),
};
const v = references(values);

const ALERT = "{{ $labels.queue }} is at {{ $value | humanize }}: 100% of 'it' \"now\"\n\tand {{- `then` -}}";

/** A chart that has every way of writing a value. */
function sample(): App {
  const app = new App({ resolvers: [new ExpressionResolver()] });
  const part = new Chart(app, "part");
  manifest<V1ConfigMap>(part, "config", {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "config", labels: { word: v.word } },
    data: {
      whole: v.word,
      embedded: `[${v.word}] 100% "${v.size}" {{ ${v.on} }}`,
      number: `${v.size}`,
      alert: ALERT,
      file: lines(include("sample.file")),
      optional: optional(v.word),
    },
  });
  manifest<V1Deployment>(part, "deployment", {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "deployment" },
    spec: {
      replicas: v.size,
      selector: {},
      template: {
        spec: { hostNetwork: v.on, nodeSelector: v.selector, containers: [{ resources: { limits: v.selector }, name: "x" }] },
      },
    },
  });
  const conditional = new Construct(part, "conditional");
  when(conditional, v.on);
  const name = each(conditional, "name", v.names);
  manifest<V1ConfigMap>(conditional, "one", { apiVersion: "v1", kind: "ConfigMap", metadata: { name: `${name}-${v.word}` } });
  return app;
}

type Parsed = {
  kind: string;
  metadata: { name: string; labels?: unknown };
  data?: { [key: string]: string };
  spec?: { [key: string]: unknown };
};

describe("what Helm renders", () => {
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
      helpers: { "sample.file": { doc: "A file.", text: `a {\n  b: ${v.word}\n  c: {{ ${v.size} }} {${v.size}}\n}\n` } },
      checks: [{ unless: `ne ${v.word.code} "bad"`, message: `"${v.word}" is bad` }],
      notes: `{{x}} ${v.size}`,
      readme: "# Sample",
    });
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function render(given: object): Promise<Parsed[]> {
    const file = join(folder, "given.json");
    await writeFile(file, JSON.stringify(given));
    const { code, stdout, stderr } = await helm("template", "x", join(folder, "sample"), "-f", file);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    return parseAllDocuments(stdout).flatMap((document) => {
      expect(document.errors).toEqual([]);
      return document.contents === null ? [] : [document.toJS() as Parsed];
    });
  }

  const named = (documents: Parsed[], name: string): Parsed => {
    const found = documents.find((document) => document.metadata.name === name);
    if (found === undefined) throw new Error(`no document ${name}`);
    return found;
  };

  it.each([
    "plain",
    "it's",
    'a "b"',
    "a\nb\n",
    "a: b",
    "{{ evil }}",
    "{{",
    "%v %d",
    "yes",
    "1e3",
    "0123",
    "\u00fc \u{1f980}",
    "\\n",
    " #",
    "~",
  ])("keeps the value %j as it is", async (word) => {
    const { data, metadata } = named(await render({ word }), "config");
    expect(metadata.labels).toEqual({ word });
    expect(data).toMatchObject({
      whole: word,
      embedded: `[${word}] 100% "1073741824" {{ false }}`,
      number: "1073741824",
      alert: ALERT,
      optional: word,
    });
    if (!word.includes("\n")) expect(data?.["file"]).toBe(`a {\n  b: ${word}\n  c: {{ 1073741824 }} {1073741824}\n}\n`);
  });

  it("has numbers as numbers, and leaves out what is empty", async () => {
    const { spec } = named(await render({ word: "" }), "deployment");
    expect(spec).toEqual({
      replicas: 1_073_741_824,
      selector: {},
      template: { spec: { hostNetwork: false, containers: [{ resources: null, name: "x" }] } },
    });
    expect(named(await render({ word: "" }), "config").data).not.toHaveProperty("optional");
  });

  it("has blocks as they were given", async () => {
    const selector = { disk: "ssd", "a.b/c": "1" };
    expect(named(await render({ selector }), "deployment").spec).toMatchObject({
      template: { spec: { nodeSelector: selector, containers: [{ resources: { limits: selector } }] } },
    });
  });

  it("has conditional documents when they are wanted, one for each element", async () => {
    const kinds = async (given: object) => (await render(given)).map((document) => document.metadata.name);
    expect(await kinds({})).toEqual(["config", "deployment"]);
    expect(await kinds({ on: true })).toEqual(["config", "a-plain", "b-plain", "deployment"]);
    expect(await kinds({ on: true, names: [] })).toEqual(["config", "deployment"]);
  });

  it("stops at a failed check with its message", async () => {
    const { code, stderr } = await helm("template", "x", join(folder, "sample"), "--set", "word=bad");
    expect(code).toBe(1);
    expect(stderr).toContain('"bad" is bad');
  });
});
