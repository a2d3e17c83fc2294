import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { LocalCluster } from "../../scripts/cluster/cluster.ts";

const MOUNT = "/sys/fs/cgroup";

/** Takes the memory of a running container until the kernel kills what is in it, by cgroup v1 or v2. */
export class ContainerMemory {
  readonly #processes: string;

  private constructor(folder: string) {
    this.#processes = join(folder, "cgroup.procs");
  }

  static of(cluster: LocalCluster, containerId: string): ContainerMemory {
    const folder = find(join(MOUNT, "memory", cluster.name), containerId) ?? find(join(MOUNT, cluster.name), containerId);
    if (folder === undefined) throw new Error(`no cgroup of container ${containerId}`);
    return new ContainerMemory(folder);
  }

  /** Resolves when the kernel has killed all that was in it, and what took its memory. */
  async exhaust(): Promise<void> {
    // Of all in the container the kernel chooses those first, and what takes the memory last.
    for (const pid of readFileSync(this.#processes, "utf8").trim().split("\n"))
      writeFileSync(`/proc/${pid}/oom_score_adj`, "1000");
    const hog = spawn("sh", ["-c", `echo $$ > ${this.#processes}; exec tail /dev/zero`], { stdio: "ignore" });
    const [code, signal] = await once(hog, "exit");
    if (signal !== "SIGKILL") throw new Error(`what took the memory ended by itself: ${code ?? signal}`);
  }
}

function find(folder: string, name: string): string | undefined {
  if (!existsSync(folder)) return undefined;
  const entries = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  if (entries.some((entry) => entry.name === name)) return join(folder, name);
  for (const entry of entries) {
    const found = find(join(folder, entry.name), name);
    if (found !== undefined) return found;
  }
  return undefined;
}
