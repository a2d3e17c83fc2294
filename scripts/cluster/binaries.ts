import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { ClusterError } from "./cluster-error.ts";
import { command } from "./command.ts";
import { withFileLock } from "./file-lock.ts";
import { type GoModule, renderGoMod, stagingModules, stagingVersion } from "./go-module.ts";
import { cacheHome } from "./layout.ts";
import { withElapsed } from "./progress.ts";

export const binaryNames = ["kubernetes", "helm", "coredns", "nats-server"] as const;
export type BinaryName = (typeof binaryNames)[number];

interface Recipe {
  readonly module: GoModule;
  /** Several programs of one module are linked in one `go build`, and the cache entry is then a folder. */
  readonly packages: readonly string[];
  /** Building against Kubernetes' own staging modules reuses what its compile left in Go's cache. */
  readonly sharesKubernetesModules: boolean;
  readonly linkerFlags: readonly string[];
  readonly typicalSeconds: number;
}

const kubernetes: GoModule = { path: "k8s.io/kubernetes", version: "v1.36.3" };
const goVersion = "1.26.0";
const godebugDefault = "go1.26";
const BUILD_DEADLINE_MS = 3_600_000;

export const kubernetesPrograms = [
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kubelet",
  "kube-proxy",
  "kubectl",
] as const;

/** Unstamped, Kubernetes calls itself v0.0.0-master, and clients then refuse features by version. */
function versionStamp(version: string): string[] {
  const [major = "", minor = ""] = version.replace(/^v/, "").split(".");
  return ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].flatMap((path) => [
    `-X ${path}.gitVersion=${version}`,
    `-X ${path}.gitMajor=${major}`,
    `-X ${path}.gitMinor=${minor}`,
  ]);
}

const recipes: Record<BinaryName, Recipe> = {
  kubernetes: {
    module: kubernetes,
    packages: kubernetesPrograms.map((program) => `${kubernetes.path}/cmd/${program}`),
    sharesKubernetesModules: true,
    linkerFlags: versionStamp(kubernetes.version),
    typicalSeconds: 310,
  },
  helm: {
    module: { path: "helm.sh/helm/v4", version: "v4.3.1" },
    packages: ["helm.sh/helm/v4/cmd/helm"],
    sharesKubernetesModules: true,
    linkerFlags: ["-X helm.sh/helm/v4/internal/version.version=v4.3.1"],
    typicalSeconds: 90,
  },
  coredns: {
    module: { path: "github.com/coredns/coredns", version: "v1.15.0" },
    packages: ["github.com/coredns/coredns"],
    sharesKubernetesModules: true,
    linkerFlags: [],
    typicalSeconds: 85,
  },
  "nats-server": {
    module: { path: "github.com/nats-io/nats-server/v2", version: "v2.15.2" },
    packages: ["github.com/nats-io/nats-server/v2"],
    sharesKubernetesModules: false,
    linkerFlags: [],
    typicalSeconds: 16,
  },
};

export function binaryVersion(name: BinaryName): string {
  return recipes[name].module.version;
}

/**
 * Absolute path per name: the program itself, or for "kubernetes" the folder of its six programs. Needs Go, no root, no cluster.
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
  const toolsDir = join(cacheHome(), "tools");
  const home = join(toolsDir, `${name}-${recipes[name].module.version}`);
  const path = recipes[name].packages.length === 1 ? join(home, name) : home;
  if (existsSync(home)) return path;
  mkdirSync(toolsDir, { recursive: true });
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
  const workDir = mkdtempSync(`${home}.build-`);
  const logFile = `${home}.log`;
  rmSync(logFile, { force: true });
  const label = `building ${name} ${recipe.module.version} (first time only, about ${recipe.typicalSeconds} s on two cores)`;
  try {
    await withElapsed({ label, progress }, async () => {
      const replace = recipe.sharesKubernetesModules ? await stagingReplacements(workDir, logFile) : [];
      const module = {
        name: `millrace.local/${name}`,
        goVersion,
        godebugDefault,
        require: recipe.module,
        replace,
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

async function stagingReplacements(workDir: string, logFile: string): Promise<GoModule[]> {
  writeFileSync(join(workDir, "go.mod"), `module millrace.local/lookup\n\ngo ${goVersion}\n`);
  const answer: unknown = JSON.parse(
    await go(["mod", "download", "-json", `${kubernetes.path}@${kubernetes.version}`], workDir, logFile),
  );
  if (typeof answer !== "object" || answer === null || !("GoMod" in answer) || typeof answer.GoMod !== "string") {
    throw new ClusterError("BUILD_FAILED", `go mod download gave no go.mod for ${kubernetes.path}. See ${logFile}.`);
  }
  const version = stagingVersion(kubernetes.version);
  return stagingModules(readFileSync(answer.GoMod, "utf8")).map((path) => ({ path, version }));
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
