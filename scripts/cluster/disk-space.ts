import { existsSync, statfsSync } from "node:fs";
import { dirname } from "node:path";
import { ClusterError } from "./cluster-error.ts";

const GIB = 1024 ** 3;

export interface SpaceNeed {
  readonly bytes: number;
  /** Ends "…needs N GiB": what it is needed for. */
  readonly what: string;
}

/** Go's caches, the linked programs and the compiler's temporary files of the largest build, with room to spare. */
export const FREE_FOR_BUILD: SpaceNeed = { bytes: 5 * GIB, what: "building the cluster's programs" };
/** Unpacked images, etcd, logs and pods. With less the kubelet soon evicts pods, and that looks like a fault of theirs. */
export const FREE_FOR_CLUSTER: SpaceNeed = { bytes: 2 * GIB, what: "running the local cluster" };
/** A few archives of 130 MB. */
export const FREE_FOR_IMAGES: SpaceNeed = { bytes: GIB, what: "building images" };

/** What an unprivileged process may still write where `folder` is or will be. */
export function freeBytes(folder: string): number {
  let there = folder;
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  const { bavail, bsize } = statfsSync(there);
  return bavail * bsize;
}

/** Before the work: half an hour into a build, "no space left on device" comes out of a linker. */
export function requireFreeSpace(
  folders: readonly string[],
  need: SpaceNeed,
  free: (folder: string) => number = freeBytes,
): void {
  for (const folder of new Set(folders)) {
    const found = free(folder);
    if (found < need.bytes) throw new ClusterError("DISK_FULL", spaceMessage(folder, found, need));
  }
}

export function spaceMessage(folder: string, found: number, need: SpaceNeed): string {
  return `${folder} has ${gib(found)} GiB free, and ${need.what} needs ${gib(need.bytes)}. Make room there (\`df -h ${folder}\`; \`go clean -cache\` frees Go's own), then run the same command again.`;
}

export function gib(bytes: number): string {
  return (bytes / GIB).toFixed(1);
}
