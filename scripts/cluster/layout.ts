import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { ClusterError } from "./cluster-error.ts";
import { NodeLayout, type NodeName } from "./node-layout.ts";

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

/** A Unix socket's path has room for 107 bytes, and the longest one below the state folder takes this many. */
const LONGEST_SOCKET_SUFFIX = "/node1/kubelet/pod-resources/kubelet.sock".length;
const SOCKET_PATH_LIMIT = 107;

/**
 * Where everything of one cluster lies that its nodes share. All names that are global on the machine (namespace, cgroup, context)
 * begin with the cluster's name.
 */
export class ClusterLayout {
  readonly name: string;
  readonly stateDir: string;
  readonly lockFile: string;
  readonly durable: boolean;

  /** `durable`: what is acknowledged survives a power cut, at the price of a disk flush per write. @default false */
  constructor(options: { readonly name: string; readonly stateHome: string; readonly durable?: boolean }) {
    if (!/^[a-z][a-z0-9-]{0,30}$/.test(options.name) || /-node\d+$/.test(options.name)) {
      throw new ClusterError(
        "NAME_INVALID",
        `"${options.name}" cannot name a cluster. Use lower case letters, digits and "-", at most 31, and no "-node1" at the end: nodes are named so.`,
      );
    }
    this.name = options.name;
    this.durable = options.durable ?? false;
    this.stateDir = join(options.stateHome, "clusters", options.name);
    this.lockFile = join(options.stateHome, "clusters", `.${options.name}.lock`);
    if (Buffer.byteLength(this.stateDir) + LONGEST_SOCKET_SUFFIX > SOCKET_PATH_LIMIT) {
      throw new ClusterError(
        "NAME_INVALID",
        `${this.stateDir} is too long for sockets below it. Set XDG_STATE_HOME to a shorter folder.`,
      );
    }
  }

  node(name: NodeName): NodeLayout {
    return new NodeLayout({ cluster: this, name });
  }

  /** How many nodes the cluster was last told to have; a cluster from before there were two has no such file. */
  get nodeCountFile(): string {
    return join(this.stateDir, "node-count");
  }
  get binDir(): string {
    return join(this.stateDir, "bin");
  }
  get configDir(): string {
    return join(this.stateDir, "config");
  }
  get etcdDir(): string {
    return join(this.stateDir, "etcd");
  }
  get gatewayPortFile(): string {
    return join(this.stateDir, "gateway-port");
  }
  get kubeconfig(): string {
    return join(this.stateDir, "kubeconfig.yaml");
  }
  get logDir(): string {
    return join(this.stateDir, "log");
  }
  get pidDir(): string {
    return join(this.stateDir, "pid");
  }
  get pkiDir(): string {
    return join(this.stateDir, "pki");
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
