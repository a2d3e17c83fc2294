import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { type BinaryName, godebugDefault, goVersion, kubernetes, type Recipe, recipes } from "./binary-recipes.ts";
import { ClusterError } from "./cluster-error.ts";
import { command } from "./command.ts";
import { FREE_FOR_BUILD, requireFreeSpace } from "./disk-space.ts";
import { withFileLock } from "./file-lock.ts";
import { type GoModule, moduleReplacements, type Replacement, renderGoMod, stagingModules, stagingVersion } from "./go-module.ts";
import { cacheHome } from "./layout.ts";
import { withElapsed } from "./progress.ts";

export { type BinaryName, baseBinaries, binaryNames, kubernetesPrograms } from "./binary-recipes.ts";

const BUILD_DEADLINE_MS = 3_600_000;

const downloadSchema = z.object({ GoMod: z.string(), Dir: z.string() });

export function binaryVersion(name: BinaryName): string {
  return recipes[name].module.version;
}

/** Those that `ensureBinaries` would have to build, with the seconds that it takes on two cores. */
export function missingBinaries(names: readonly BinaryName[]): { readonly name: BinaryName; readonly seconds: number }[] {
  return names.filter((name) => !existsSync(cacheEntry(name))).map((name) => ({ name, seconds: recipes[name].typicalSeconds }));
}

function cacheEntry(name: BinaryName): string {
  return join(cacheHome(), "tools", `${name}-${recipes[name].module.version}`);
}

/**
 * Absolute path per name: the program itself, or the folder of its programs for "kubernetes" (six) and "keda" (three, and its `config`).
 * Needs Go, no root, no cluster.
 * missing → building (in a temporary folder, under a lock) → there (by one rename): a killed build leaves nothing that looks finished.
 */
export async function ensureBinaries<Name extends BinaryName>(
  names: readonly Name[],
  progress: (line: string) => void,
): Promise<Record<Name, string>> {
  const paths: [Name, string][] = [];
  for (const name of names) paths.push([name, await ensureBinary(name, progress)]);
  return Object.fromEntries(paths) as Record<Name, string>;
}

async function ensureBinary(name: BinaryName, progress: (line: string) => void): Promise<string> {
  const home = cacheEntry(name);
  const path = recipes[name].packages.length === 1 ? join(home, name) : home;
  if (existsSync(home)) return path;
  mkdirSync(dirname(home), { recursive: true });
  const lock = {
    path: `${home}.lock`,
    deadlineMs: BUILD_DEADLINE_MS,
    onWait: (holder: string): void => progress(`${name}: ${holder} is building it already, waiting for that`),
  };
  await withFileLock(lock, async () => {
    if (!existsSync(home)) await build(name, home, progress);
  });
  return path;
}

async function build(name: BinaryName, home: string, progress: (line: string) => void): Promise<void> {
  const recipe = recipes[name];
  await requireGo();
  sweepAbandonedBuilds(home);
  const caches = (await command("go", ["env", "GOCACHE", "GOMODCACHE"])).trim().split("\n");
  requireFreeSpace([dirname(home), tmpdir(), ...caches], FREE_FOR_BUILD);
  const workDir = mkdtempSync(`${home}.build-`);
  const logFile = `${home}.log`;
  rmSync(logFile, { force: true });
  const label = `building ${name} ${recipe.module.version} (first time only, about ${recipe.typicalSeconds} s on two cores)`;
  try {
    await withElapsed({ label, progress }, async () => {
      writeFileSync(join(workDir, "go.mod"), `module millrace.local/lookup\n\ngo ${goVersion}\n`);
      const source = await download(recipe.module, workDir, logFile);
      const staging = recipe.sharesKubernetesModules ? await stagingReplacements(workDir, logFile) : [];
      const module = {
        name: `millrace.local/${name}`,
        goVersion,
        godebugDefault,
        require: recipe.module,
        // A replacement counts in the main module only, which here is ours: the program's own have to be copied.
        replace: [
          ...moduleReplacements(readFileSync(source.GoMod, "utf8")).filter(({ path }) => !isIn(staging, path)),
          ...staging,
        ],
        packages: recipe.packages,
      };
      writeFileSync(join(workDir, "go.mod"), renderGoMod(module));
      const outDir = join(workDir, "out");
      mkdirSync(outDir);
      const linkerFlags = ["-s", "-w", ...recipe.linkerFlags].join(" ");
      // A trailing "/" makes go treat the target as a folder also when there is only one package.
      await go(
        ["build", "-trimpath", "-buildvcs=false", "-ldflags", linkerFlags, "-o", `${outDir}/`, ...recipe.packages],
        workDir,
        logFile,
      );
      nameSingleProgram(outDir, name, recipe);
      for (const folder of recipe.carries ?? []) cpSync(join(source.Dir, folder), join(outDir, folder), { recursive: true });
      renameSync(outDir, home);
    });
  } finally {
    rmSync(workDir, { recursive: true, force: true });
  }
}

/** A module ending in /v2 names its program by the element before it, as `go install` does; the cache promises our name. */
function nameSingleProgram(outDir: string, name: string, recipe: Recipe): void {
  if (recipe.packages.length > 1) return;
  const [built] = readdirSync(outDir);
  if (built !== undefined && built !== name) renameSync(join(outDir, built), join(outDir, name));
}

/** The lock is held, so no other build of this tool is alive: any such folder belongs to one that was killed. */
function sweepAbandonedBuilds(home: string): void {
  const parent = join(home, "..");
  for (const entry of readdirSync(parent)) {
    if (entry.startsWith(`${basename(home)}.build-`)) rmSync(join(parent, entry), { recursive: true, force: true });
  }
}

async function stagingReplacements(workDir: string, logFile: string): Promise<Replacement[]> {
  const { GoMod } = await download(kubernetes, workDir, logFile);
  const version = stagingVersion(kubernetes.version);
  return stagingModules(readFileSync(GoMod, "utf8")).map((path) => ({ path, by: { path, version } }));
}

function isIn(replacements: readonly Replacement[], path: string): boolean {
  return replacements.some((replacement) => replacement.path === path);
}

async function download(module: GoModule, workDir: string, logFile: string): Promise<z.infer<typeof downloadSchema>> {
  const name = `${module.path}@${module.version}`;
  const answer = downloadSchema.safeParse(JSON.parse(await go(["mod", "download", "-json", name], workDir, logFile)));
  if (!answer.success) throw new ClusterError("BUILD_FAILED", `go mod download did not say where ${name} is. See ${logFile}.`);
  return answer.data;
}

async function go(args: readonly string[], cwd: string, logFile: string): Promise<string> {
  return command("go", args, {
    cwd,
    logFile,
    code: "BUILD_FAILED",
    hint: "Go modules come through your Go module proxy (`go env GOPROXY`): check that it answers and that the disk has 5 GB free, then run the same command again; finished steps are kept.",
    env: {
      // Static programs: no compiler for C on the machine, and they run on any libc.
      CGO_ENABLED: "0",
      // go.sum is made by the first build itself; the checksum database still checks each module.
      GOFLAGS: "-mod=mod",
      // No silent download of another Go: the builds were tried with the one preflight asked for.
      GOTOOLCHAIN: "local",
      GOWORK: "off",
    },
  });
}

async function requireGo(): Promise<void> {
  const found = await command("go", ["env", "GOVERSION"]).catch(() => "");
  const [, minor] = /^go1\.(\d+)/.exec(found) ?? [];
  if (Number(minor ?? 0) >= 26) return;
  const seen = found.trim() === "" ? "no `go` is on the PATH" : `this is ${found.trim()}`;
  throw new ClusterError(
    "TOOL_MISSING",
    `Go 1.26 or newer builds the cluster's programs, and ${seen}. Install it and put its bin folder on the PATH.`,
  );
}
