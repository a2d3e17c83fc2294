import { join } from "node:path";
import type { ClusterLayout } from "./layout.ts";

export const nodeNames = ["node0", "node1"] as const;
export type NodeName = (typeof nodeNames)[number];
export type NodeCount = 1 | 2;

/** All nodes are in one /16; each gives its pods addresses of a range of its own. */
const addresses: Readonly<Record<NodeName, { readonly node: string; readonly pods: readonly [string, string] }>> = {
  node0: { node: "10.111.0.1", pods: ["10.111.10.1", "10.111.13.254"] },
  node1: { node: "10.111.0.2", pods: ["10.111.20.1", "10.111.23.254"] },
};

export function isNodeCount(value: number): value is NodeCount {
  return value === 1 || value === 2;
}

export function namesOfNodes(count: NodeCount): readonly NodeName[] {
  return nodeNames.slice(0, count);
}

/**
 * Where everything of one node lies. node0 has the cluster's own folder and name, as it had before there was a second node, so that
 * a cluster of an older version is found again; further nodes have a folder below it, and names that end with theirs.
 */
export class NodeLayout {
  readonly cluster: ClusterLayout;
  readonly name: NodeName;
  readonly dir: string;
  /** Names its network namespace, cgroup root and CNI network. */
  readonly globalName: string;
  readonly address: string;
  readonly podRange: readonly [string, string];

  constructor(options: { readonly cluster: ClusterLayout; readonly name: NodeName }) {
    const { cluster, name } = options;
    this.cluster = cluster;
    this.name = name;
    this.dir = name === "node0" ? cluster.stateDir : join(cluster.stateDir, name);
    this.globalName = name === "node0" ? cluster.name : `${cluster.name}-${name}`;
    this.address = addresses[name].node;
    this.podRange = addresses[name].pods;
  }

  get cgroupPath(): string {
    return `/${this.globalName}`;
  }
  get cniDir(): string {
    return join(this.dir, "cni");
  }
  get configDir(): string {
    return join(this.dir, "config");
  }
  get containerdDir(): string {
    return join(this.dir, "containerd");
  }
  get containerdSocket(): string {
    return join(this.dir, "containerd.sock");
  }
  /** What a reboot would have emptied had it been on tmpfs: tasks, shims' bundles, pods' namespaces. */
  get containerdStateDir(): string {
    return join(this.containerdDir, "state");
  }
  get importsFile(): string {
    return join(this.dir, "images.json");
  }
  get ipamDir(): string {
    return join(this.dir, "ipam");
  }
  get kubeletDir(): string {
    return join(this.dir, "kubelet");
  }
  get netnsFile(): string {
    return `/run/netns/${this.globalName}`;
  }
  get podLogDir(): string {
    return join(this.dir, "pod-log");
  }

  configFile(name: string): string {
    return join(this.configDir, name);
  }
  kubeconfigOf(component: string): string {
    return join(this.configDir, `${component}.kubeconfig`);
  }
  /** Logs, pids and certificates of all nodes lie together: one folder to look into. */
  componentName(program: string): string {
    return this.name === "node0" ? program : `${this.name}-${program}`;
  }
  logFile(program: string): string {
    return this.cluster.logFile(this.componentName(program));
  }
  pki(file: string): string {
    return this.cluster.pki(this.componentName(file));
  }
}
