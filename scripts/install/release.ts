import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { LocalCluster } from "../cluster/cluster.ts";
import { command } from "../cluster/command.ts";
import type { Profile } from "./profile.ts";

const chart = join(import.meta.dirname, "../../charts/millrace");

const release = z.object({ info: z.object({ status: z.string(), description: z.string().default("") }) });

const SETTLE_TIMEOUT = "5m";

/** Helm on one cluster, with exactly that cluster's kubeconfig. */
export class HelmRelease {
  readonly #cluster: LocalCluster;
  readonly #profile: Profile;

  constructor(options: { readonly cluster: LocalCluster; readonly profile: Profile }) {
    this.#cluster = options.cluster;
    this.#profile = options.profile;
  }

  /** Installs or upgrades; leaves a release alone that is already what is wanted, so that running this again makes no new revision. */
  async ensure(values: Readonly<Record<string, unknown>>): Promise<"unchanged" | "installed"> {
    const digest = await wantedDigest(values);
    const found = await this.#status();
    if (found?.info.status === "deployed" && found.info.description === digest) return "unchanged";
    const { release: name } = this.#profile;
    await this.#helm(
      ["upgrade", "--install", name, chart, "--values", "-", "--description", digest, "--wait", "--timeout", SETTLE_TIMEOUT],
      {
        input: JSON.stringify(values),
        hint: `See why with: kubectl --context ${this.#cluster.context} -n ${this.#profile.namespace} get pods,events`,
      },
    );
    return "installed";
  }

  async #status() {
    const found = JSON.parse(await this.#helm(["list", "--filter", `^${this.#profile.release}$`, "-o", "json"])) as unknown[];
    if (found.length === 0) return undefined;
    return release.parse(JSON.parse(await this.#helm(["status", this.#profile.release, "-o", "json"])));
  }

  #helm(args: readonly string[], options: { readonly input?: string; readonly hint?: string } = {}): Promise<string> {
    const { kubeconfig, binDir } = this.#cluster;
    return command(join(binDir, "helm"), [...args, "--kubeconfig", kubeconfig, "--namespace", this.#profile.namespace], options);
  }
}

/** Of the chart's files and the values: what decides what Helm would render. Kept in the release's description. */
async function wantedDigest(values: Readonly<Record<string, unknown>>): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify(values));
  const entries = await readdir(chart, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const file of files.sort()) hash.update(file.slice(chart.length)).update(await readFile(file));
  return `millrace ${hash.digest("hex").slice(0, 16)}`;
}
