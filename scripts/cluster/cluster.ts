import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { ensureBinaries } from "./binaries.ts";
import { ClusterError } from "./cluster-error.ts";
import { ClusterRemains } from "./cluster-remains.ts";
import type { ComponentHealth } from "./component-health.ts";
import { componentSpecs, type Programs } from "./control-plane.ts";
import { FREE_FOR_CLUSTER, requireFreeSpace } from "./disk-space.ts";
import { withFileLock } from "./file-lock.ts";
import { Fleet, rememberedNodeCount } from "./fleet.ts";
import { ImageStore } from "./image-store.ts";
import { ClusterLayout, stateHome } from "./layout.ts";
import { type NodeCount, type NodeName, namesOfNodes } from "./node-layout.ts";
import { NodeNetwork } from "./node-network.ts";
import { ensurePackages, requireRoot } from "./preflight.ts";
import { withElapsed } from "./progress.ts";
import { UserKubeconfig } from "./user-kubeconfig.ts";

export { ClusterError, type ClusterErrorCode } from "./cluster-error.ts";
export type { ComponentHealth, ComponentState } from "./component-health.ts";

/** Longer than a cold build of everything: another `up` may be doing just that. */
const LOCK_DEADLINE_MS = 1_800_000;

export interface LocalClusterOptions {
  /** Clusters of different names live side by side. */
  readonly name: string;
  readonly progress: (line: string) => void;
  /** etcd flushes each write to the disk, as in production. @default false */
  readonly durable?: boolean;
}

/**
 * A real Kubernetes of one node or two on this machine, without Docker.
 *
 * absent → running (`up`) → absent (`down`). A crash, `kill -9` or reboot leaves it broken; then `up` climbs down a ladder
 * until one rung holds: start what is dead → restart everything in place, as after a reboot (data stay) → start afresh (data
 * are lost, and it says so). `up` and `down` of one cluster exclude each other across processes by a lock file.
 */
export class LocalCluster {
  readonly name: string;
  /** The name of its context in the user's kubeconfig. */
  readonly context: string;
  readonly stateDir: string;
  /** A file with this cluster alone, certificates inside. */
  readonly kubeconfig: string;
  /** kubectl, helm and the cluster's own programs; there once `up` has run. */
  readonly binDir: string;
  readonly logDir: string;
  readonly #layout: ClusterLayout;
  readonly #remains: ClusterRemains;
  readonly #progress: (line: string) => void;

  constructor(options: LocalClusterOptions) {
    this.#layout = new ClusterLayout({ name: options.name, stateHome: stateHome(), durable: options.durable ?? false });
    this.#remains = new ClusterRemains({ layout: this.#layout });
    this.#progress = options.progress;
    this.name = options.name;
    this.context = options.name;
    this.stateDir = this.#layout.stateDir;
    this.kubeconfig = this.#layout.kubeconfig;
    this.binDir = this.#layout.binDir;
    this.logDir = this.#layout.logDir;
  }

  /** A cluster belongs to the user who started it, root: another user's state folder knows nothing of it, but sees its namespace. */
  exists(): boolean {
    if (existsSync(this.#layout.readyFile)) return true;
    if (this.#remains.exist()) requireRoot(`Looking into the cluster ${this.name}`);
    return false;
  }

  /** `nodes` may grow and shrink a cluster; without it the cluster keeps what it has, and a new one has one. */
  async up(options: { readonly nodes?: NodeCount } = {}): Promise<{ startedFresh: boolean }> {
    requireRoot("A local cluster");
    await ensurePackages(this.#progress);
    const binaries = await ensureBinaries(["kubernetes", "helm", "coredns"], this.#progress);
    const programs = { kubernetesDir: binaries.kubernetes, coredns: binaries.coredns, helm: binaries.helm };
    requireFreeSpace([this.stateDir], FREE_FOR_CLUSTER);
    return this.#locked(async () => {
      const nodes = options.nodes ?? this.nodes;
      const fleet = new Fleet({ layout: this.#layout, programs, nodes });
      const startedFresh = !(await this.#revive(fleet, programs));
      if (startedFresh) await this.#startAfresh(fleet);
      if (nodes === 1 && existsSync(this.#layout.node("node1").dir)) await this.#removeNode1(fleet);
      writeFileSync(this.#layout.nodeCountFile, `${nodes}\n`);
      writeFileSync(this.#layout.readyFile, recipeOf(this.#layout, programs));
      await fleet.recycleVolumes();
      await this.#enterUserKubeconfig();
      return { startedFresh };
    });
  }

  async down(): Promise<void> {
    const previous = existsSync(this.#layout.previousContextFile)
      ? readFileSync(this.#layout.previousContextFile, "utf8")
      : undefined;
    if (this.#remains.exist()) {
      requireRoot(`Removing the cluster ${this.name}`);
      await this.#locked(async () => {
        await withElapsed({ label: `${this.name}: removing`, progress: this.#progress }, async () => this.#remains.remove());
      });
    }
    await new UserKubeconfig().remove(this.name, previous);
  }

  /** How many nodes it was last told to have. */
  get nodes(): NodeCount {
    return rememberedNodeCount(this.#layout) ?? 1;
  }

  /**
   * For tests of faults: SIGKILL for all that runs on a node, its pods too, as if its power were cut; `up` brings it back.
   * On node0 that is the control plane and the gateway as well.
   */
  async killNode(name: NodeName): Promise<void> {
    requireRoot(`Killing ${name} of the cluster ${this.name}`);
    await this.#remains.killNode(name);
  }

  /** For tests of faults: a node that is cut off from the others goes on with all that runs on it; `up` joins it again too. */
  async switchCable(name: Exclude<NodeName, "node0">, state: "up" | "down"): Promise<void> {
    requireRoot(`Switching the network of ${name} of the cluster ${this.name}`);
    await new NodeNetwork({ node: this.#layout.node(name) }).switchCable(state);
  }

  async health(): Promise<ComponentHealth[]> {
    requireRoot(`Looking into the cluster ${this.name}`);
    // Paths only: asking after the health of a cluster must not build its programs.
    const programs = { kubernetesDir: this.binDir, coredns: `${this.binDir}/coredns`, helm: `${this.binDir}/helm` };
    return new Fleet({ layout: this.#layout, programs, nodes: this.nodes }).health();
  }

  async importImage(archivePath: string, reference: string): Promise<void> {
    const nodes = namesOfNodes(this.nodes).map((name) => this.#layout.node(name));
    if (!nodes.every((node) => existsSync(node.containerdSocket))) {
      throw new ClusterError(
        "NOT_RUNNING",
        `The cluster ${this.name} is not running. Start it first: node scripts/cluster/main.ts up --name ${this.name}`,
      );
    }
    const results = await Promise.all(nodes.map(async (node) => new ImageStore({ node }).import(archivePath, reference)));
    if (results.some(({ kind }) => kind === "imported")) this.#progress(`${this.name}: imported ${reference}`);
  }

  async #removeNode1(fleet: Fleet): Promise<void> {
    await withElapsed({ label: `${this.name}: removing node1`, progress: this.#progress }, async () => {
      await this.#remains.removeNode("node1");
      await fleet.forgetNode("node1");
    });
  }

  async #enterUserKubeconfig(): Promise<void> {
    const config = new UserKubeconfig();
    const current = config.currentContext();
    if (current !== undefined && current !== this.context) writeFileSync(this.#layout.previousContextFile, current);
    await config.add(readFileSync(this.kubeconfig, "utf8"));
  }

  /** False when nothing of the former cluster can be kept. */
  async #revive(fleet: Fleet, programs: Programs): Promise<boolean> {
    if (!this.exists()) return false;
    const sameRecipe = readFileSync(this.#layout.readyFile, "utf8") === recipeOf(this.#layout, programs);
    const health = await fleet.health();
    if (sameRecipe && health.every(({ state }) => state === "running")) return true;
    const failing = health.filter(({ state }) => state !== "running").map(({ component, state }) => `${component} ${state}`);
    this.#progress(`${this.name}: ${sameRecipe ? failing.join(", ") : "its programs or their flags have changed"}`);
    // With nobody alive there is nothing to join, and a restart in place is the quicker way.
    const joinable = health.some(({ state }) => state !== "stopped") && (await fleet.joinable());
    if (sameRecipe && joinable && (await this.#rung("starting what is dead", async () => fleet.start()))) return true;
    return this.#rung("restarting everything in place, its data stay", async () => {
      await this.#remains.clear();
      await fleet.start();
    });
  }

  async #rung(label: string, climb: () => Promise<void>): Promise<boolean> {
    try {
      await withElapsed({ label: `${this.name}: ${label}`, progress: this.#progress }, climb);
      return true;
    } catch (error) {
      this.#progress(`${this.name}: ${label} did not help: ${error instanceof Error ? error.message : String(error)}`);
      return false;
    }
  }

  async #startAfresh(fleet: Fleet): Promise<void> {
    const revived = this.exists();
    if (revived)
      this.#progress(
        `${this.name}: cannot be revived. Starting afresh: what was in it is lost; its logs: ${this.#layout.formerLogDir}`,
      );
    const aside = `${this.#layout.lockFile}.log`;
    if (revived && existsSync(this.logDir)) {
      rmSync(aside, { recursive: true, force: true });
      renameSync(this.logDir, aside);
    }
    if (this.#remains.exist()) await this.#remains.remove();
    if (existsSync(aside)) {
      mkdirSync(this.logDir, { recursive: true, mode: 0o700 });
      renameSync(aside, this.#layout.formerLogDir);
    }
    await withElapsed({ label: `${this.name}: starting`, progress: this.#progress }, async () => fleet.start());
  }

  async #locked<T>(body: () => Promise<T>): Promise<T> {
    const onWait = (holder: string): void => this.#progress(`${this.name}: ${holder} is working on it, waiting`);
    return withFileLock({ path: this.#layout.lockFile, deadlineMs: LOCK_DEADLINE_MS, onWait }, body);
  }
}

/** Changes when a version or a flag does: a running cluster then has to be restarted to be what this code says. node0 speaks for all. */
function recipeOf(layout: ClusterLayout, programs: Programs): string {
  return createHash("sha256")
    .update(JSON.stringify(componentSpecs(layout.node("node0"), programs)))
    .digest("hex");
}
