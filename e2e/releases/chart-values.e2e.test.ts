import { execFile } from "node:child_process";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { command } from "../../scripts/cluster/command.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import { generatedValues } from "../../synth/testing/generated-values.ts";
import { writtenForHelm } from "../../synth/testing/schema-values.ts";

const SEED = 20_261_122;
const SOAK = process.env["SOAK"] === "1";
const COUNT = SOAK ? 200 : 40;
/** Each is a second or two of Helm and kubectl, and two more suites have the same two cores. */
const LIMIT_MS = SOAK ? 0 : 900_000;
const chart = join(import.meta.dirname, "../../charts/millrace");
const cluster = new LocalCluster({ name: testProfile.cluster, progress: () => {} });
const NAMESPACE = "values";
const EXTRA = ["values-one", "values-two"];

/** In name only: the Prometheus Operator's own would accept less. */
const SERVICE_MONITORS = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "servicemonitors.monitoring.coreos.com" },
  spec: {
    group: "monitoring.coreos.com",
    scope: "Namespaced",
    names: { kind: "ServiceMonitor", plural: "servicemonitors" },
    versions: [
      {
        ...{ name: "v1", served: true, storage: true },
        schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
      },
    ],
  },
};
const CRD = `customresourcedefinition/${SERVICE_MONITORS.metadata.name}`;

const run = promisify(execFile);
const kubectl = (args: readonly string[], input = ""): Promise<string> =>
  command(join(cluster.binDir, "kubectl"), ["--kubeconfig", kubeconfig, ...args], { input });

let folder: string;
/** The release's namespace is its context's: `-n` would refuse the objects of the other namespaces. */
let kubeconfig: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-values-"));
  kubeconfig = join(folder, "kubeconfig");
  await copyFile(cluster.kubeconfig, kubeconfig);
  await kubectl(["config", "set-context", "--current", `--namespace=${NAMESPACE}`]);
  for (const namespace of [NAMESPACE, ...EXTRA]) await kubectl(["create", "namespace", namespace]);
  await kubectl(["apply", "-f", "-"], JSON.stringify(SERVICE_MONITORS));
  await kubectl(["wait", "--for=condition=Established", CRD, "--timeout=180s"]);
});
afterAll(async () => {
  await kubectl(["delete", CRD, "--ignore-not-found"]);
  await kubectl(["delete", "namespace", NAMESPACE, ...EXTRA, "--wait=true", "--timeout=300s"]);
  await rm(folder, { recursive: true });
});

it(`${COUNT} generated values files render, and the API server accepts every object of each`, { timeout: LIMIT_MS }, async () => {
  const todo = generatedValues(SEED, COUNT, EXTRA).entries();
  // Helm and kubectl work on one core each.
  await Promise.all(Array.from({ length: 2 }, () => checkAll(todo)));
});

async function checkAll(todo: Iterable<[number, ReturnType<typeof generatedValues>[number]]>): Promise<void> {
  for (const [index, values] of todo) {
    const file = join(folder, `${index}.yaml`);
    await writeFile(file, writtenForHelm(values));
    const release = ["template", "generated", chart, "-n", NAMESPACE, "-f", file, "--api-versions", "keda.sh/v1alpha1"];
    const { stdout } = await run(join(cluster.binDir, "helm"), release, { maxBuffer: 64 * 1024 * 1024 });
    const rendered = withoutScaledObjects(stdout);
    const args = ["apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", "-"];
    const accepted = await kubectl(args, rendered).catch((error: unknown) => {
      throw new Error(`values ${index} of seed ${SEED}: ${JSON.stringify(values).slice(0, 2000)}`, { cause: error });
    });
    const objects = parseAllDocuments(rendered).filter(({ contents }) => contents !== null);
    expect(accepted.trim().split("\n"), `values ${index}`).toHaveLength(objects.length);
  }
}

/** Those are for KEDA to accept, which need not be in this cluster. As text: kubectl is to read what Helm wrote. */
function withoutScaledObjects(yaml: string): string {
  const documents = yaml.split(/^---\n/mu);
  return documents.filter((document) => !/^kind: ScaledObject$/mu.test(document)).join("---\n");
}
