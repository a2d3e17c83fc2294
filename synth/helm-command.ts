import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { type BinaryName, binaryNames, ensureBinaries } from "../scripts/cluster/binaries.ts";

export type HelmResult = { code: number; stdout: string; stderr: string };
export type Helm = (...args: string[]) => Promise<HelmResult>;

const HELM_3_VERSION = "v3.22.0";

/** The real helm, for tests. The first call on a machine builds it, which takes minutes. */
export async function helmCommand(): Promise<Helm> {
  return runner(await ensured("helm"));
}

/** Helm 3, which many still use, or undefined where this machine cannot have it. */
export async function helm3Command(): Promise<Helm | undefined> {
  const name: string = "helm3";
  if (isBinaryName(name)) return runner(await ensured(name));
  const path = join(homedir(), ".cache", "millrace", "tools", `helm-${HELM_3_VERSION}`, "helm");
  return existsSync(path) ? runner(path) : undefined;
}

const isBinaryName = (name: string): name is BinaryName => (binaryNames as readonly string[]).includes(name);

async function ensured(name: BinaryName): Promise<string> {
  const paths = await ensureBinaries([name], (line) => process.stderr.write(`${line}\n`));
  return paths[name];
}

function runner(path: string): Helm {
  return (...args) =>
    new Promise((resolve) => {
      execFile(path, args, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
        resolve({
          code: error === null ? 0 : 1,
          stdout,
          stderr: error === null ? stderr : `${stderr}${stderr === "" ? error.message : ""}`,
        });
      });
    });
}
