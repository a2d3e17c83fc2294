import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What the chart gives to a pod of a service. */
export const SERVICE_MEMORY_BYTES = 256 * 2 ** 20;

const CGROUPS = "/sys/fs/cgroup";

/**
 * `command` with no more memory than `bytes`, as in its pod: Node sizes its heap by the limit that it finds, and on a large machine lets garbage lie that
 * it would collect there. The cgroup is below the cluster's own, and goes with it.
 */
export function withMemoryLimit(
  command: readonly string[],
  limit: { readonly cluster: string; readonly name: string; readonly bytes: number },
): string[] {
  const isV2 = existsSync(join(CGROUPS, "cgroup.controllers"));
  const folder = join(CGROUPS, ...(isV2 ? [] : ["memory"]), limit.cluster, limit.name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, isV2 ? "memory.max" : "memory.limit_in_bytes"), String(limit.bytes));
  return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', join(folder, "cgroup.procs"), ...command];
}
