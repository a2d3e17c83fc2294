import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1ConfigMap } from "@kubernetes/client-node";
import { App, Chart } from "cdk8s";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { chartFiles, type HelmChart, writeChart } from "./chart-files.ts";
import { raw } from "./expression.ts";
import { ExpressionResolver } from "./resolver.ts";
import { manifest } from "./templated.ts";
import { int } from "./values.ts";

function sample(): HelmChart {
  const app = new App({ resolvers: [new ExpressionResolver()] });
  const part = new Chart(app, "part");
  manifest<V1ConfigMap>(part, "config", {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "x" },
    data: { b: "1", a: "2" },
  });
  return {
    about: { name: "sample", version: "1.0.0", description: "A sample." },
    banner: "Made by hand.",
    app,
    values: { size: int(1, "Size.") },
    helpers: {
      "sample.text": { doc: "A text.", text: `{{ ${raw("$.Release.Name")}\n` },
      "sample.code": { doc: "Code.", code: "{{- 1 -}}" },
    },
    checks: [{ unless: "gt 1 0", message: `no "${raw("$.Release.Name")}"` }],
    notes: `Hello ${raw("$.Release.Name")}.`,
    readme: "# Sample\n",
  };
}

describe("a chart", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "chart-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("has the files that Helm expects", () => {
    const files = chartFiles(sample());
    expect([...files.keys()].sort()).toEqual([
      ".helmignore",
      "Chart.yaml",
      "README.md",
      "templates/NOTES.txt",
      "templates/_helpers.tpl",
      "templates/checks.yaml",
      "templates/part.yaml",
      "values.schema.json",
      "values.yaml",
    ]);
    expect(files.get("Chart.yaml")).toBe(
      "# Made by hand.\napiVersion: v2\nname: sample\nversion: 1.0.0\ndescription: A sample.\n",
    );
    expect(files.get("templates/NOTES.txt")).toBe("Hello {{ $.Release.Name }}.\n");
    expect(files.get("templates/_helpers.tpl")).toContain(
      '{{- define "sample.text" -}}\n{{ "{{" }} {{ $.Release.Name }}\n{{- end }}\n',
    );
    expect(files.get("templates/checks.yaml")).toContain(
      '{{- if not (gt 1 0) }}\n{{- fail (printf "no \\"%v\\"" $.Release.Name) }}\n{{- end }}\n',
    );
  });

  it("keeps the order in which objects were written, and cdk8s' switch for it as it was", () => {
    expect(chartFiles(sample()).get("templates/part.yaml")).toContain('data:\n  b: "1"\n  a: "2"\n');
    expect(process.env["CDK8S_DISABLE_SORT"]).toBeUndefined();
  });

  it("replaces a folder's content", async () => {
    await writeFile(join(folder, "stale.yaml"), "");
    await writeChart(folder, sample());
    expect((await readdir(folder, { recursive: true })).filter((path) => path !== "templates").sort()).toEqual(
      [...chartFiles(sample()).keys()].sort(),
    );
    expect(await readFile(join(folder, "Chart.yaml"), "utf8")).toBe(chartFiles(sample()).get("Chart.yaml"));
  });
});
