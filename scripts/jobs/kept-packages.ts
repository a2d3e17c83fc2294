import { cpSync, existsSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { z } from "zod";
import { ClusterError } from "../cluster/cluster-error.ts";

/** Packages that no bundler can take in: their native parts are files that they look for beside their own. */
export const KEPT_PACKAGES: readonly string[] = ["sharp"];

const manifest = z.object({
  name: z.string(),
  version: z.string(),
  dependencies: z.record(z.string(), z.string()).default({}),
  optionalDependencies: z.record(z.string(), z.string()).default({}),
});

export interface InstalledPackage {
  /** `name@version`: what an npm registry never gives other files for. */
  readonly id: string;
  readonly folder: string;
  /** Below the `node_modules` that it was found in. */
  readonly path: string;
}

/** The packages and all that they need, as npm has installed them for this platform. */
export function withDependencies(names: readonly string[], root: string): InstalledPackage[] {
  const home = realpathSync(join(root, "node_modules"));
  const found = new Map<string, InstalledPackage>();
  const visit = (name: string, from: string, optional: boolean): void => {
    const folder = findPackage(name, from);
    if (folder === undefined && optional) return;
    if (folder === undefined)
      throw new ClusterError("IMAGE_INPUT_MISSING", `The package ${name} is not installed. First: npm ci`);
    if (found.has(folder)) return;
    const { name: is, version, dependencies, optionalDependencies } = readManifest(folder);
    found.set(folder, { id: `${is}@${version}`, folder, path: relative(home, folder) });
    for (const needed of Object.keys(dependencies)) visit(needed, folder, false);
    for (const wanted of Object.keys(optionalDependencies)) visit(wanted, folder, true);
  };
  for (const name of names) visit(name, dirname(home), false);
  return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

export function copyPackages(packages: readonly InstalledPackage[], target: string): void {
  for (const { folder, path } of packages) {
    const nested = join(folder, "node_modules");
    cpSync(folder, join(target, path), { recursive: true, filter: (source) => source !== nested });
  }
}

/** As Node looks for it: in each `node_modules` from the importing folder upwards. */
function findPackage(name: string, from: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = basename(folder) === "node_modules" ? join(folder, name) : join(folder, "node_modules", name);
    if (existsSync(join(candidate, "package.json"))) return realpathSync(candidate);
    if (folder === dirname(folder)) return undefined;
  }
}

function readManifest(folder: string): z.infer<typeof manifest> {
  return manifest.parse(JSON.parse(readFileSync(join(folder, "package.json"), "utf8")));
}
