import { execFile } from "node:child_process";
import { ensureBinaries } from "../scripts/cluster/binaries.ts";

export type HelmResult = { code: number; stdout: string; stderr: string };
export type Helm = (...args: string[]) => Promise<HelmResult>;

/** The real helm, for tests. The first call on a machine builds it, which takes minutes. */
export async function helmCommand(): Promise<Helm> {
  const { helm } = await ensureBinaries(["helm"], (line) => process.stderr.write(`${line}\n`));
  return (...args) =>
    new Promise((resolve) => {
      execFile(helm, args, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
        resolve({
          code: error === null ? 0 : 1,
          stdout,
          stderr: error === null ? stderr : `${stderr}${stderr === "" ? error.message : ""}`,
        });
      });
    });
}
