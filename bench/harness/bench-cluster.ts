import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalCluster } from "../../scripts/cluster/cluster.ts";
import type { ComponentName } from "../../scripts/cluster/control-plane.ts";
import { Daemon } from "../../scripts/cluster/daemon.ts";
import { Kubectl } from "../../scripts/cluster/kubectl.ts";
import { ClusterLayout, stateHome } from "../../scripts/cluster/layout.ts";
import { network } from "../../scripts/cluster/network.ts";
import type { NodeLayout } from "../../scripts/cluster/node-layout.ts";

/** What else than etcd and the API server runs on node0. */
const BESIDE_THE_API: readonly ComponentName[] = ["coredns", "proxy", "kubelet", "scheduler", "controller-manager", "containerd"];

/** `api`: etcd and the API server alone, so that Jobs are inert and nobody else takes CPU. `whole`: a cluster that runs Jobs. */
export type ClusterShape = "api" | "whole";

/**
 * The cluster that is measured: of its own, with an etcd that flushes each write, as a production one does.
 *
 *   absent → whole ⇄ api → absent
 */
export class BenchCluster {
  readonly name: string;
  readonly local: LocalCluster;
  readonly netnsFile: string;
  /** Its server is reached from within the cluster's network namespace, without the gateway, which would cost CPU. */
  readonly kubeconfig: string;
  readonly #layout: ClusterLayout;
  readonly #progress: (line: string) => void;

  constructor(options: { readonly name: string; readonly progress: (line: string) => void }) {
    const { name, progress } = options;
    this.name = name;
    this.local = new LocalCluster({ name, progress, durable: true });
    this.#layout = new ClusterLayout({ name, stateHome: stateHome(), durable: true });
    this.netnsFile = this.#layout.node("node0").netnsFile;
    this.kubeconfig = join(this.#layout.stateDir, "bench.kubeconfig");
    this.#progress = progress;
  }

  /** Below it lie what must be on the same disk as etcd, and what `down` is to remove. */
  get stateDir(): string {
    return this.#layout.stateDir;
  }

  /** Runs in the machine's own network namespace: so does the gateway that it starts. */
  async shape(shape: ClusterShape): Promise<void> {
    await this.#withOwnUserConfig(() => this.local.up({ nodes: 1 }));
    const gateway = readFileSync(this.local.kubeconfig, "utf8");
    const server = `https://${network.controlPlaneAddress}:${network.apiPort}`;
    writeFileSync(this.kubeconfig, gateway.replace(/https:\/\/127\.0\.0\.1:\d+/, server), { mode: 0o600 });
    if (shape === "whole") return;
    this.#progress(`${this.name}: stopping ${BESIDE_THE_API.join(", ")}`);
    for (const component of BESIDE_THE_API) await this.#daemon(component).stop();
  }

  async down(): Promise<void> {
    await this.#withOwnUserConfig(() => this.local.down());
  }

  /** Of a program of node0 that runs. */
  pid(component: ComponentName): number {
    const identity = this.#daemon(component).running();
    if (identity === undefined) throw new Error(`${component} of ${this.name} does not run`);
    return identity.pid;
  }

  /** What runs on node0, and how: for programs that take the place of its own. */
  get node(): NodeLayout {
    return this.#layout.node("node0");
  }

  /** Usable from within the cluster's network namespace. */
  kubectl(): Kubectl {
    return new Kubectl({ program: join(this.local.binDir, "kubectl"), kubeconfig: this.kubeconfig });
  }

  /** By its pid file: node0's programs bear their plain names. */
  #daemon(name: ComponentName): Daemon {
    return new Daemon({ name, pidFile: this.#layout.pidFile(name), logFile: this.#layout.logFile(name) });
  }

  /** The kubeconfig of whoever measures is not touched. */
  async #withOwnUserConfig<T>(work: () => Promise<T>): Promise<T> {
    const before = process.env["KUBECONFIG"];
    const folder = mkdtempSync(join(tmpdir(), "millrace-bench-"));
    process.env["KUBECONFIG"] = join(folder, "kubeconfig");
    try {
      return await work();
    } finally {
      if (before === undefined) delete process.env["KUBECONFIG"];
      else process.env["KUBECONFIG"] = before;
      rmSync(folder, { recursive: true });
    }
  }
}
