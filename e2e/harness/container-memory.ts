import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { LocalCluster } from "../../scripts/cluster/cluster.ts";

const MOUNT = "/sys/fs/cgroup";
/** Less than any program asks for next. */
const LEFT_BYTES = 16 * 1024;

interface Files {
  readonly limit: string;
  readonly used: string;
}

/** The memory of a running container, as the kernel of the machine counts it; cgroup v1 and v2. */
export class ContainerMemory {
  readonly #files: Files;

  private constructor(files: Files) {
    this.#files = files;
  }

  static of(cluster: LocalCluster, containerId: string): ContainerMemory {
    for (const [root, limit, used] of [
      [join(MOUNT, "memory", cluster.name), "memory.limit_in_bytes", "memory.usage_in_bytes"],
      [join(MOUNT, cluster.name), "memory.max", "memory.current"],
    ] as const) {
      const folder = find(root, containerId);
      if (folder !== undefined) return new ContainerMemory({ limit: join(folder, limit), used: join(folder, used) });
    }
    throw new Error(`no cgroup of container ${containerId}`);
  }

  /** What it asks for next is too much: the kernel kills it. */
  exhaust(): void {
    const used = Number(readFileSync(this.#files.used, "utf8"));
    writeFileSync(this.#files.limit, String(used + LEFT_BYTES));
  }
}

function find(folder: string, name: string): string | undefined {
  let entries: string[];
  try {
    entries = readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return undefined;
  }
  if (entries.includes(name)) return join(folder, name);
  for (const entry of entries) {
    const found = find(join(folder, entry), name);
    if (found !== undefined) return found;
  }
  return undefined;
}
