import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { ClusterError } from "./cluster-error.ts";
import { currentMountsBelow, unmountBelow } from "./mounts.ts";
import type { NodeCgroup } from "./node-cgroup.ts";
import type { NodeLayout } from "./node-layout.ts";
import { poll } from "./polling.ts";
import { readProcessStat, signalProcess } from "./process-identity.ts";

const SWEEP_DEADLINE_MS = 20_000;
const cniCacheDir = "/var/lib/cni/results";
const containerLogDir = "/var/log/containers";

interface ProcessView {
  readonly pid: number;
  readonly parentPid: number;
  readonly argv: readonly string[];
  readonly netns: number | undefined;
}

/**
 * What a node leaves on the machine when its components are gone: shims, pods' processes, mounts, and files outside its folder.
 * Ownership is shown by cgroup, by network namespace, or by a shim's arguments that name our containerd; never by a program's name alone.
 */
export class Leftovers {
  readonly #node: NodeLayout;
  readonly #cgroup: NodeCgroup;

  constructor(options: { readonly node: NodeLayout; readonly cgroup: NodeCgroup }) {
    this.#node = options.node;
    this.#cgroup = options.cgroup;
  }

  /** Kills and looks again until none is left: a shim may be starting a container while it dies. */
  async killProcesses(): Promise<void> {
    await poll(
      () => {
        const pids = this.processes();
        for (const pid of pids) signalProcess(pid, "SIGKILL");
        return pids.length === 0 ? true : undefined;
      },
      { what: `the processes of ${this.#node.globalName} to end`, deadlineMs: SWEEP_DEADLINE_MS, intervalMs: 50 },
    ).catch((cause: unknown) => {
      const survivors = this.processes().join(", ");
      throw new ClusterError(
        "TEARDOWN_INCOMPLETE",
        `Processes ${survivors} survive SIGKILL: they hang in the kernel. Reboot, then try again.`,
        { cause },
      );
    });
  }

  processes(): number[] {
    const views = readProcesses();
    const ours = new Set(this.#cgroup.processes());
    const namespaces = this.#namespaces();
    for (const view of views) {
      const inside = view.netns !== undefined && namespaces.has(view.netns);
      if (inside || isRuntimeOf(view.argv, this.#node)) ours.add(view.pid);
    }
    // A container that is only being made has neither its cgroup nor its namespace yet: it is a runtime's child.
    for (let before = -1; before !== ours.size; ) {
      before = ours.size;
      for (const view of views) if (ours.has(view.parentPid)) ours.add(view.pid);
    }
    ours.delete(process.pid);
    return [...ours].filter((pid) => {
      const stat = readProcessStat(pid);
      return stat !== undefined && stat.state !== "Z" && stat.state !== "X";
    });
  }

  async unmount(): Promise<void> {
    await unmountBelow(this.#node.dir);
    const left = currentMountsBelow(this.#node.dir);
    if (left.length > 0)
      throw new ClusterError(
        "TEARDOWN_INCOMPLETE",
        `Still mounted: ${left.join(", ")}. Unmount them (\`umount -l\`), then try again.`,
      );
  }

  /** Before the folder goes: it is what names the shims' sockets. */
  removeStrayFiles(): void {
    this.removeShimSockets();
    this.#removeCniResults();
    this.#removeLogLinks();
  }

  async removeCgroups(): Promise<void> {
    await poll(
      () => {
        this.#cgroup.remove();
        return this.#cgroup.exists() ? undefined : true;
      },
      { what: `the cgroups of ${this.#node.globalName} to empty`, deadlineMs: SWEEP_DEADLINE_MS, intervalMs: 50 },
    );
  }

  /** The node's namespace and those of its pods, by inode: what /proc/PID/ns/net shows. */
  #namespaces(): Set<number> {
    const podNamespaces = listFiles(join(this.#node.containerdStateDir, "io.containerd.grpc.v1.cri", "netns"));
    const inodes = [this.#node.netnsFile, ...podNamespaces].flatMap((path) => {
      try {
        return [statSync(path).ino];
      } catch {
        return [];
      }
    });
    return new Set(inodes);
  }

  /** Of shims that were killed: a containerd that starts after them forgets where their sockets were. */
  removeShimSockets(): void {
    const tasks = join(this.#node.containerdStateDir, "io.containerd.runtime.v2.task", "k8s.io");
    for (const bundle of listFiles(tasks)) {
      const address = readText(join(bundle, "address"))
        .trim()
        .replace(/^unix:\/\//, "");
      if (address.startsWith("/run/containerd/s/")) rmSync(address, { force: true });
    }
  }

  /** A pod has one file per interface; only that of our own network names us, so it goes last. */
  #removeCniResults(): void {
    const results = listFiles(cniCacheDir);
    for (const own of results.filter((path) => readText(path).includes(`"networkName":"${this.#node.globalName}"`))) {
      const sandbox = basename(own)
        .slice(this.#node.globalName.length + 1)
        .replace(/-[^-]+$/, "");
      for (const path of results) if (path !== own && basename(path).includes(`-${sandbox}-`)) rmSync(path, { force: true });
      rmSync(own, { force: true });
    }
  }

  #removeLogLinks(): void {
    for (const path of listFiles(containerLogDir)) {
      const target = linkTarget(path);
      if (target?.startsWith(`${this.#node.podLogDir}/`) === true) rmSync(path, { force: true });
    }
  }
}

/** A shim names its containerd's socket, a runc its root: both paths are below the node's folder. */
export function isRuntimeOf(argv: readonly string[], node: NodeLayout): boolean {
  const program = basename(argv[0] ?? "");
  if (program === "containerd-shim-runc-v2") return argv.includes(node.containerdSocket);
  return program === "runc" && argv.some((argument) => argument.startsWith(`${node.containerdDir}/`));
}

function readProcesses(): ProcessView[] {
  return readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    const pid = Number(entry);
    const stat = readProcessStat(pid);
    if (stat === undefined) return [];
    const inode = /^net:\[(\d+)\]$/.exec(linkTarget(`/proc/${entry}/ns/net`) ?? "")?.[1];
    const argv = readText(`/proc/${entry}/cmdline`).split("\0");
    return [{ pid, parentPid: stat.parentPid, argv, netns: inode === undefined ? undefined : Number(inode) }];
  });
}

function listFiles(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).map((entry) => join(folder, entry)) : [];
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
