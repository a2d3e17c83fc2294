import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Leaf, Section, type Tree } from "./helm/values.ts";
import type { Json } from "./helm/yaml.ts";
import { fedFields } from "./testing/fed-fields.ts";
import { acceptedValues, generatedValues } from "./testing/generated-values.ts";
import { type Helm, helmCommand } from "./testing/helm-command.ts";
import { CHART, documents, WITH_KEDA } from "./testing/rendered.ts";
import { writtenForHelm } from "./testing/schema-values.ts";
import { values } from "./values.ts";

const SOAK = process.env["SOAK"] === "1";
const runs = (few: number): number => (SOAK ? few * 40 : few);
const SOAK_TIMEOUT_MS = 3_600_000;
const SEED = 20_261_122;

const initial = (tree: Tree): Json =>
  Object.fromEntries(
    Object.entries(tree).map(([key, node]) => [key, node instanceof Section ? initial(node.values) : node.initial]),
  );
const defaults = initial(values);

let helm: Helm;
let folder: string;
beforeAll(async () => {
  helm = await helmCommand();
  folder = await mkdtemp(join(tmpdir(), "values-"));
});
afterAll(() => rm(folder, { recursive: true }));

let files = 0;
async function run(given: Json) {
  files += 1;
  const file = join(folder, `${files}.json`);
  await writeFile(file, writtenForHelm(given));
  return helm("template", "x", CHART, "-n", "home", "-f", file, ...WITH_KEDA);
}

async function arrives(given: Json): Promise<void> {
  const { code, stdout, stderr } = await run(given);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  for (const { where, is, wanted } of fedFields(documents(stdout), given, defaults)) expect(is, where).toEqual(wanted);
}

/** Every value by its path, and what is no value of its kind. */
function wrongs(tree: Tree, path: string[] = []): fc.Arbitrary<{ path: string[]; wrong: Json }> {
  return fc.oneof(
    ...Object.entries(tree).map(([key, node]) => {
      const here = [...path, key];
      if (node instanceof Section) return fc.oneof(wrongs(node.values, here), fc.constant({ path: here, wrong: "text" }));
      return fc.constantFrom(...unfit(node)).map((wrong) => ({ path: here, wrong }));
    }),
  );
}

function unfit({ kind, schema, initial: usual }: Leaf<unknown>): Json[] {
  const byKind: { [kind: string]: Json[] } = {
    string: [1, true, [], {}],
    bool: ["true", 1, [], {}],
    int: ["1", 1.5, true, [], 2 ** 60, Number(schema["minimum"]) - 1],
    block: ["text", 1, Array.isArray(usual) ? { a: 1 } : [1]],
  };
  return byKind[kind] ?? [];
}

const at = (path: readonly string[], value: Json): Json => path.reduceRight<Json>((inner, key) => ({ [key]: inner }), value);

describe("any values", () => {
  it(
    "that the schema accepts arrive where they belong",
    () => fc.assert(fc.asyncProperty(acceptedValues, arrives), { numRuns: runs(20), seed: SEED, endOnFailure: !SOAK }),
    SOAK ? SOAK_TIMEOUT_MS : undefined,
  );

  it(
    "that are made for an API server arrive where they belong",
    async () => {
      for (const given of generatedValues(SEED, runs(10), ["team-a", "team-b"])) await arrives(given);
    },
    SOAK ? SOAK_TIMEOUT_MS : undefined,
  );

  it(
    "that the schema does not accept are refused with their path",
    () =>
      fc.assert(
        fc.asyncProperty(wrongs(values), async ({ path, wrong }) => {
          const { code, stderr } = await run(at(path, wrong));
          expect(stderr).toContain(`/${path.join("/")}`);
          expect(code).toBe(1);
        }),
        { numRuns: runs(15), seed: SEED, endOnFailure: !SOAK },
      ),
    SOAK ? SOAK_TIMEOUT_MS : undefined,
  );
});
