import { join } from "node:path";
import type { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { command } from "../../scripts/cluster/command.ts";
import type { Profile } from "../../scripts/install/profile.ts";
import { testProfile } from "../../scripts/install/profile.ts";

const chart = join(import.meta.dirname, "../../charts/millrace");

/** One pod of each service, and soon gone at the end: for a release whose pods are not what is tested. */
export const SMALL = {
  "monitor.replicas": 1,
  "monitor.terminationGracePeriodSeconds": 6,
  "dispatcher.replicas": 1,
  "dispatcher.terminationGracePeriodSeconds": 6,
  "scaler.replicas": 1,
} as const;

/** Many releases at once, and the jobs of the shared one, fit on a node of two CPUs. */
const FRUGAL = Object.fromEntries(
  ["monitor", "dispatcher", "scaler", "nats"].map((service) => [`${service}.resources.requests.cpu`, "20m"]),
);

/** Where a further release of the chart is put. */
export type ReleaseNames = Pick<Profile, "release" | "namespace" | "jobsNamespace">;

/** A release of its own beside the one that all tests share, in namespaces of its own; with the same images and short intervals. */
export class TestRelease {
  readonly names: ReleaseNames;
  readonly #cluster: LocalCluster;
  readonly #helm: string;

  /** `helm` is the binary to use, for the other major version. */
  constructor(options: { readonly cluster: LocalCluster; readonly names: ReleaseNames; readonly helm?: string }) {
    this.#cluster = options.cluster;
    this.names = options.names;
    this.#helm = options.helm ?? join(options.cluster.binDir, "helm");
  }

  /** Both namespaces enforce Pod Security `restricted`: whatever runs in them has passed. */
  async createNamespaces(): Promise<void> {
    const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
    for (const name of this.#namespaces()) {
      const manifest = { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
      await this.kubectl(["apply", "--server-side", "-f", "-"], JSON.stringify(manifest));
    }
  }

  /** Installs or upgrades with the shared release's values, and `values` laid over them. */
  async upgrade(values: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const shared = await this.#run(["get", "values", testProfile.release, "-n", testProfile.namespace, "-o", "yaml"]);
    const { release, namespace, jobsNamespace } = this.names;
    const args = ["upgrade", "--install", release, chart, "-n", namespace, "--values", "-", "--wait", "--timeout", "5m"];
    await this.#run([...args, ...setJson({ jobs: { namespace: jobsNamespace }, ...FRUGAL, ...values })], shared);
  }

  async rollback(): Promise<void> {
    await this.#run(["rollback", this.names.release, "-n", this.names.namespace, "--wait", "--timeout", "5m"]);
  }

  /** `helm test`: publishes a job in the cluster and waits for its outcome. */
  test(): Promise<string> {
    return this.#run(["test", this.names.release, "-n", this.names.namespace, "--timeout", "3m"]);
  }

  async uninstall(): Promise<void> {
    await this.#run(["uninstall", this.names.release, "-n", this.names.namespace, "--wait", "--timeout", "3m"]);
  }

  /** Uninstalled, and its namespaces deleted, while nobody waits: its names cannot be used again in this cluster. */
  async discard(): Promise<void> {
    await this.#run(["uninstall", this.names.release, "-n", this.names.namespace]);
    await this.kubectl(["delete", "namespace", ...this.#namespaces(), "--wait=false"]);
  }

  /** Resolves when the namespaces are really gone, with whatever ran in them. */
  async deleteNamespaces(): Promise<void> {
    await this.kubectl(["delete", "namespace", ...this.#namespaces(), "--ignore-not-found", "--wait=true", "--timeout=300s"]);
  }

  kubectl(args: readonly string[], input = ""): Promise<string> {
    return command(join(this.#cluster.binDir, "kubectl"), ["--kubeconfig", this.#cluster.kubeconfig, ...args], { input });
  }

  #namespaces(): string[] {
    return [...new Set([this.names.namespace, this.names.jobsNamespace])];
  }

  #run(args: readonly string[], input = ""): Promise<string> {
    return command(this.#helm, [...args, "--kubeconfig", this.#cluster.kubeconfig], { input });
  }
}

function setJson(values: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(values).flatMap(([key, value]) => ["--set-json", `${key}=${JSON.stringify(value)}`]);
}
