import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1ConfigMap, V1Deployment, V1NetworkPolicy } from "@kubernetes/client-node";
import { App, Chart } from "cdk8s";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { type Helm, helmCommand } from "../testing/helm-command.ts";
import { writtenForHelm } from "../testing/schema-values.ts";
import { writeChart } from "./chart-files.ts";
import { given, items, spread } from "./collections.ts";
import { inFile } from "./documents.ts";
import { ExpressionResolver } from "./resolver.ts";
import { manifest } from "./templated.ts";
import { block, bool, int, references, section, text } from "./values.ts";

type StringMap = { [key: string]: string };

const values = {
  server: section("The server.", {
    replicas: int(1, "Replicas.", { minimum: 0 }),
    enabled: bool(true, "On by default."),
    image: text("busybox", "The image."),
    host: bool(false, "Off by default."),
    seconds: int(1, "A 64-bit number."),
  }),
  labels: block<StringMap>({ user: "1" }, "Labels.", { additionalProperties: { type: "string" } }),
  tolerations: block<object[]>([], "Tolerations.", { items: { type: "object" } }),
  variables: block<{ name: string; value: string }[]>([], "Variables.", { items: { type: "object" } }),
  objects: block<unknown[]>([], "More objects."),
};
const v = references(values);

/** One object for each thing that a naive chart gets wrong. */
function sample(): App {
  const app = new App({ resolvers: [new ExpressionResolver()] });
  const part = new Chart(app, "part");
  manifest<V1Deployment>(part, "deployment", {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "deployment" },
    spec: {
      replicas: v.server.replicas,
      progressDeadlineSeconds: v.server.seconds,
      paused: v.server.enabled,
      selector: { matchLabels: { app: "own" } },
      template: {
        metadata: { labels: { app: "own", ...spread(v.labels) } },
        spec: {
          nodeSelector: v.labels,
          tolerations: v.tolerations,
          hostNetwork: v.server.host,
          containers: [
            {
              name: "x",
              image: v.server.image,
              env: [
                { name: "COUNT", value: `${v.server.replicas}` },
                { name: "LIMIT", value: `${v.server.seconds}` },
                given(v.server.enabled, { name: "ON", value: `${v.server.enabled}` }),
                items(v.variables),
              ],
            },
          ],
        },
      },
    },
  });
  manifest<V1NetworkPolicy>(part, "policy", {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "policy" },
    spec: { podSelector: {}, ingress: [{}], egress: [] },
  });
  const test = new Chart(app, "test");
  inFile(test, "tests/nested");
  manifest<V1ConfigMap>(test, "config", {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "alerts" },
    data: { summary: "{{ $labels.queue }} {{- humanize $value -}}", [`${v.server.image}`]: "a key", legend: "a\n{{b}}\n" },
  });
  return app;
}

type Loose = { kind: string; metadata: { name: string }; data: StringMap; spec: { [key: string]: unknown } };

describe("what naive charts get wrong", () => {
  let folder: string;
  let helm: Helm;
  beforeAll(async () => {
    helm = await helmCommand();
    folder = await mkdtemp(join(tmpdir(), "chart-"));
    const about = { name: "sample", version: "1.0.0", description: "A sample." };
    const rest = { helpers: {}, checks: [], notes: "", readme: "", extraObjects: v.objects };
    await writeChart(join(folder, "sample"), { about, banner: "Generated.", app: sample(), values, ...rest });
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function run(given: object) {
    const file = join(folder, "given.json");
    await writeFile(file, writtenForHelm(given as StringMap));
    return helm("template", "x", join(folder, "sample"), "-f", file);
  }

  async function render(given: object): Promise<{ [name: string]: Loose }> {
    const { code, stdout, stderr } = await run(given);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const all = parseAllDocuments(stdout).map((document) => document.toJS() as Loose);
    return Object.fromEntries(all.map((document) => [document.metadata.name, document]));
  }

  it.each([0, 1, 1_000_000, 1_073_741_824, 2 ** 53 - 1])("the number %d stays a number, without an exponent", async (number) => {
    const { deployment } = await render({ server: { replicas: number, seconds: number } });
    expect(deployment?.spec).toMatchObject({
      replicas: number,
      progressDeadlineSeconds: number,
      template: { spec: { containers: [{ env: [{ value: String(number) }, { value: String(number) }, { name: "ON" }] }] } },
    });
  });

  it("a number that a float64 cannot hold is refused, and not changed", async () => {
    const { code, stderr } = await run({ server: { seconds: 2 ** 60 } });
    expect(code).toBe(1);
    expect(stderr).toContain("at '/server/seconds': maximum");
  });

  it.each(["1e3", "0123", "yes", "null", "~", "2026-01-01", "1:30", "0x1f", ""])(
    "%j stays a string wherever it goes",
    async (word) => {
      const { deployment, alerts } = await render({
        server: { image: word },
        labels: { word },
        variables: [{ name: "WORD", value: word }],
      });
      expect(deployment?.spec).toMatchObject({
        template: {
          metadata: { labels: { word } },
          spec: { nodeSelector: { word }, containers: [{ image: word, env: [{}, {}, {}, { name: "WORD", value: word }] }] },
        },
      });
      expect(alerts?.data).toMatchObject({ [word]: "a key" });
    },
  );

  it.each(['a "b"', "it's", "a\nb", "{{ evil }}", "%v", "a: b", "\\"])(
    "%j in a value breaks no YAML and runs nothing",
    async (word) => {
      const { deployment } = await render({ server: { image: word }, labels: { [word]: word } });
      expect(deployment?.spec).toMatchObject({
        template: { metadata: { labels: { [word]: word } }, spec: { containers: [{ image: word }] } },
      });
    },
  );

  it("braces that the chart itself means for somebody else reach them", async () => {
    const { alerts } = await render({});
    expect(alerts?.data).toMatchObject({ summary: "{{ $labels.queue }} {{- humanize $value -}}", legend: "a\n{{b}}\n" });
  });

  it("empty maps and lists that mean something stay; those of a user that are empty go away", async () => {
    const { policy, deployment } = await render({});
    expect(policy?.spec).toEqual({ podSelector: {}, ingress: [{}], egress: [] });
    expect(deployment?.spec).not.toMatchObject({ template: { spec: { tolerations: expect.anything() } } });
  });

  it("a boolean that is on by default can be turned off", async () => {
    const { deployment } = await render({ server: { enabled: false, host: true } });
    expect(deployment?.spec).toMatchObject({ paused: false, template: { spec: { hostNetwork: true } } });
    const names = JSON.stringify(deployment?.spec);
    expect(names).not.toContain('"ON"');
  });

  it.each([
    ["null", null, "missing property 'server'"],
    ["a text", "x", "at '/server': got string, want object"],
    ["a null leaf", { replicas: null }, "at '/server': missing property 'replicas'"],
  ])("a section that is %s is a clear error, and no nil pointer", async (_name, server, message) => {
    const { code, stderr } = await run({ server });
    expect(code).toBe(1);
    expect(stderr).toContain(message);
  });

  it("a block that is null is an empty one", async () => {
    const { deployment } = await render({ labels: null, tolerations: null, variables: null });
    expect(deployment?.spec).toMatchObject({ template: { metadata: { labels: { app: "own" } } } });
    expect(deployment?.spec).not.toMatchObject({ template: { spec: { nodeSelector: expect.anything() } } });
  });

  it("a user's key never stands beside the chart's own of the same name", async () => {
    const { deployment } = await render({ labels: { app: "stolen", more: "1" } });
    expect(deployment?.spec).toMatchObject({ template: { metadata: { labels: { app: "own", more: "1", user: "1" } } } });
  });

  it("the elements of a user's list stand among the chart's own", async () => {
    const { deployment } = await render({ variables: [{ name: "A", value: "1" }, { name: "B" }] });
    const env = ["COUNT", "LIMIT", "ON", "A", "B"].map((name) => expect.objectContaining({ name }));
    expect(deployment?.spec).toMatchObject({ template: { spec: { containers: [{ env }] } } });
  });

  it.each(["\n", " \n", "x\n\n", "x\n\t\n", "\\\n\n"])(
    "a text whose last line is blank, which Helm would change, stops it: %j",
    async (text) => {
      const { code, stderr } = await run({ labels: { a: text } });
      expect(code).toBe(1);
      expect(stderr).toContain("a text whose last line is blank");
    },
  );

  it.each(["x\n", "x\\n", '"\n', "\\\n", ',"\n', "x\n\ny"])("a text whose last line is not blank is taken: %j", async (text) => {
    const { code } = await run({ labels: { a: text } });
    expect(code).toBe(0);
  });

  it.each(["\u007f", "\u0085", "\ufeff"])("a character that Helm would lose stops it: %j", async (character) => {
    const { code, stderr } = await run({ labels: { a: `x${character}` } });
    expect(code).toBe(1);
    expect(stderr).toContain("a value holds one of the characters U+007F to U+009F");
  });

  it("a user's own objects go through tpl, as objects or as texts", async () => {
    const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "{{ .Release.Name }}-a" } };
    const words = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {{ dict "name" "b" | toJson }}\n';
    expect(Object.keys(await render({ objects: [object, words] }))).toEqual(expect.arrayContaining(["x-a", "b"]));
  });
});
