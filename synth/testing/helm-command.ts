import { execFile } from "node:child_process";
import { type BinaryName, ensureBinaries } from "../../scripts/cluster/binaries.ts";

export type HelmResult = { code: number; stdout: string; stderr: string };
export type Helm = (...args: string[]) => Promise<HelmResult>;

/** The real helm, for tests. The first call on a machine builds it, which takes minutes. */
export async function helmCommand(): Promise<Helm> {
  return runner(await ensured("helm"));
}

/** Helm 3, which is out of support and which many still use. */
export async function helm3Command(): Promise<Helm> {
  return runner(await ensured("helm3"));
}

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
