import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Profile } from "./profile.ts";
import { helm, type Target } from "./target.ts";

const chart = join(import.meta.dirname, "../../charts/millrace");

const release = z.object({ version: z.number(), info: z.object({ status: z.string(), description: z.string().default("") }) });

const SETTLE_TIMEOUT = "5m";

type Access = Pick<Target, "binDir" | "context" | "kubeconfig">;
type Names = Pick<Profile, "release" | "namespace">;

/** The chart's release on one cluster. */
export class HelmRelease {
  readonly #target: Access;
  readonly #profile: Names;

  constructor(options: { readonly target: Access; readonly profile: Names }) {
    this.#target = options.target;
    this.#profile = options.profile;
  }

  /** Installs or upgrades; leaves a release alone that is already what is wanted, so that running this again makes no new revision. */
  async ensure(values: Readonly<Record<string, unknown>>): Promise<"unchanged" | "installed"> {
    const digest = await wantedDigest(values);
    if (isDeployed(await this.#status(), digest)) return "unchanged";
    const { release: name } = this.#profile;
    await this.#helm(
      ["upgrade", "--install", name, chart, "--values", "-", "--description", digest, "--wait", "--timeout", SETTLE_TIMEOUT],
      {
        input: JSON.stringify(values),
        hint: `See why with: kubectl --context ${this.#target.context} -n ${this.#profile.namespace} get pods,events`,
      },
    );
    return "installed";
  }

  /** What `ensure` would do. Changes nothing. */
  async plan(values: Readonly<Record<string, unknown>>): Promise<string> {
    const found = await this.#status();
    if (found === undefined) return "install the chart";
    if (isDeployed(found, await wantedDigest(values))) return `revision ${found.version} is what is wanted, nothing to do`;
    return `upgrade from revision ${found.version} (${found.info.status})`;
  }

  async #status(): Promise<Status> {
    const found = JSON.parse(await this.#helm(["list", "--filter", `^${this.#profile.release}$`, "-o", "json"])) as unknown[];
    if (found.length === 0) return undefined;
    return release.parse(JSON.parse(await this.#helm(["status", this.#profile.release, "-o", "json"])));
  }

  #helm(args: readonly string[], options: { readonly input?: string; readonly hint?: string } = {}): Promise<string> {
    return helm(this.#target, [...args, "--namespace", this.#profile.namespace], options);
  }
}

type Status = z.infer<typeof release> | undefined;

function isDeployed(found: Status, digest: string): boolean {
  return found?.info.status === "deployed" && found.info.description === digest;
}

/** Of the chart's files and the values: what decides what Helm would render. Kept in the release's description. */
async function wantedDigest(values: Readonly<Record<string, unknown>>): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify(values));
  const entries = await readdir(chart, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const file of files.sort()) hash.update(file.slice(chart.length)).update(await readFile(file));
  return `millrace ${hash.digest("hex").slice(0, 16)}`;
}
