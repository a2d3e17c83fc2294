import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { daemonEnvironment } from "./command.ts";
import { Daemon } from "./daemon.ts";
import { logTail } from "./log-tail.ts";
import type { NodeLayout } from "./node-layout.ts";

/** How a component answers for itself, asked from inside its node's network namespace. */
export type Probe = { readonly kind: "http"; readonly url: string } | { readonly kind: "socket"; readonly path: string };

export interface ComponentSpec {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  readonly probe: Probe;
}

/** A program of the cluster, run in the network namespace of its node. Its state is its daemon's; whether it is well is its probe's. */
export class Component {
  readonly spec: ComponentSpec;
  readonly daemon: Daemon;
  readonly #node: NodeLayout;

  constructor(options: { readonly spec: ComponentSpec; readonly node: NodeLayout }) {
    this.spec = options.spec;
    this.#node = options.node;
    const { name } = options.spec;
    const { cluster } = options.node;
    this.daemon = new Daemon({ name, pidFile: cluster.pidFile(name), logFile: cluster.logFile(name) });
  }

  /** Appends to the log: the end of the previous life is what explains a restart. */
  start(): void {
    if (this.daemon.running() !== undefined) return;
    mkdirSync(this.#node.cluster.logDir, { recursive: true });
    const log = openSync(this.daemon.logFile, "a");
    try {
      // nsenter, not `ip netns exec`: that one remounts /sys and hides the cgroups from the kubelet.
      // It becomes the program by exec, so its pid is the program's.
      const child = spawn("nsenter", [`--net=${this.#node.netnsFile}`, this.spec.file, ...this.spec.args], {
        cwd: this.#node.dir,
        detached: true,
        env: daemonEnvironment(),
        stdio: ["ignore", log, log],
      });
      child.on("error", () => undefined);
      child.unref();
      this.daemon.record(child.pid);
    } finally {
      closeSync(log);
    }
  }

  /** For waits on this component: a dead process will not answer any more. */
  obituary(): string | undefined {
    if (this.daemon.running() !== undefined) return undefined;
    return `${this.spec.name} has ended. Its last lines:\n${logTail(this.daemon.logFile)}\nWhole log: ${this.daemon.logFile}`;
  }
}
