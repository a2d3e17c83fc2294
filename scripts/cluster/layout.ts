import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { ClusterError } from "./cluster-error.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** The XDG rule: a relative value is as good as none. */
function xdgFolder(value: string | undefined, fallback: string): string {
  return value !== undefined && isAbsolute(value) ? value : join(homedir(), fallback);
}

export function stateHome(environment: Environment = process.env): string {
  return join(xdgFolder(environment["XDG_STATE_HOME"], ".local/state"), "millrace");
}

export function cacheHome(environment: Environment = process.env): string {
  return join(xdgFolder(environment["XDG_CACHE_HOME"], ".cache"), "millrace");
}

/** Addresses may repeat between clusters: each lives in a network namespace of its own, with no link to the outside. */
export const network = {
  nodeAddress: "10.111.0.1",
  nodePrefixBits: 16,
  nodeSubnet: "10.111.0.0/16",
  podRangeStart: "10.111.10.1",
  podRangeEnd: "10.111.13.254",
  serviceSubnet: "10.96.0.0/16",
  apiServiceAddress: "10.96.0.1",
  apiPort: 6443,
  clusterDomain: "cluster.local",
  bridge: "node0",
} as const;

export const nodeName = "node0";

/** A Unix socket's path has room for 107 bytes, and the longest one below the state folder takes this many. */
const LONGEST_SOCKET_SUFFIX = "/kubelet/pod-resources/kubelet.sock".length;
const SOCKET_PATH_LIMIT = 107;

/** Where everything of one cluster lies. All names that are global on the machine (namespace, cgroup, context) are the cluster's name. */
export class ClusterLayout {
  readonly name: string;
  readonly stateDir: string;
  readonly lockFile: string;

  constructor(options: { readonly name: string; readonly stateHome: string }) {
    if (!/^[a-z][a-z0-9-]{0,30}$/.test(options.name)) {
      throw new ClusterError(
        "NAME_INVALID",
        `"${options.name}" cannot name a cluster. Use lower case letters, digits and "-", at most 31.`,
      );
    }
    this.name = options.name;
    this.stateDir = join(options.stateHome, "clusters", options.name);
    this.lockFile = join(options.stateHome, "clusters", `.${options.name}.lock`);
    if (Buffer.byteLength(this.stateDir) + LONGEST_SOCKET_SUFFIX > SOCKET_PATH_LIMIT) {
      throw new ClusterError(
        "NAME_INVALID",
        `${this.stateDir} is too long for sockets below it. Set XDG_STATE_HOME to a shorter folder.`,
      );
    }
  }

  get binDir(): string {
    return join(this.stateDir, "bin");
  }
  get cgroupPath(): string {
    return `/${this.name}`;
  }
  get cniDir(): string {
    return join(this.stateDir, "cni");
  }
  get configDir(): string {
    return join(this.stateDir, "config");
  }
  get containerdDir(): string {
    return join(this.stateDir, "containerd");
  }
  get containerdSocket(): string {
    return join(this.stateDir, "containerd.sock");
  }
  /** What a reboot would have emptied had it been on tmpfs: tasks, shims' bundles, pods' namespaces. */
  get containerdStateDir(): string {
    return join(this.containerdDir, "state");
  }
  get etcdDir(): string {
    return join(this.stateDir, "etcd");
  }
  get gatewayPortFile(): string {
    return join(this.stateDir, "gateway-port");
  }
  get importsFile(): string {
    return join(this.stateDir, "images.json");
  }
  get ipamDir(): string {
    return join(this.stateDir, "ipam");
  }
  get kubeconfig(): string {
    return join(this.stateDir, "kubeconfig.yaml");
  }
  get kubeletDir(): string {
    return join(this.stateDir, "kubelet");
  }
  get logDir(): string {
    return join(this.stateDir, "log");
  }
  get netnsFile(): string {
    return `/run/netns/${this.name}`;
  }
  get pidDir(): string {
    return join(this.stateDir, "pid");
  }
  get pkiDir(): string {
    return join(this.stateDir, "pki");
  }
  get podLogDir(): string {
    return join(this.stateDir, "pod-log");
  }
  /** The logs of the life before a start afresh: they say why it came to that. */
  get formerLogDir(): string {
    return join(this.logDir, "former");
  }
  /** What the user's kubectl pointed at before this cluster came, for `down` to give back. */
  get previousContextFile(): string {
    return join(this.stateDir, "previous-context");
  }
  /** Written last by a fresh start: without it the folder is the rest of a start that never ended. */
  get readyFile(): string {
    return join(this.stateDir, "ready");
  }
  get volumeDir(): string {
    return join(this.stateDir, "volumes");
  }

  configFile(name: string): string {
    return join(this.configDir, name);
  }
  kubeconfigOf(component: string): string {
    return join(this.configDir, `${component}.kubeconfig`);
  }
  logFile(component: string): string {
    return join(this.logDir, `${component}.log`);
  }
  pidFile(component: string): string {
    return join(this.pidDir, `${component}.pid`);
  }
  pki(file: string): string {
    return join(this.pkiDir, file);
  }
}
