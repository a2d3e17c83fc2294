import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { ensureBinaries } from "./binaries.ts";
import { ClusterError } from "./cluster-error.ts";
import { ClusterNode } from "./cluster-node.ts";
import type { ComponentHealth } from "./component.ts";
import { componentSpecs, type Programs } from "./control-plane.ts";
import { withFileLock } from "./file-lock.ts";
import { ImageStore } from "./image-store.ts";
import { ClusterLayout, stateHome } from "./layout.ts";
import { NodeNetwork } from "./node-network.ts";
import { NodeRemains } from "./node-remains.ts";
import { ensurePackages, requireRoot } from "./preflight.ts";
import { withElapsed } from "./progress.ts";
import { UserKubeconfig } from "./user-kubeconfig.ts";

export { ClusterError, type ClusterErrorCode } from "./cluster-error.ts";
export type { ComponentHealth, ComponentState } from "./component.ts";

/** Longer than a cold build of everything: another `up` may be doing just that. */
const LOCK_DEADLINE_MS = 1_800_000;

export interface LocalClusterOptions {
  /** Clusters of different names live side by side. */
  readonly name: string;
  readonly progress: (line: string) => void;
}

/**
 * A real one-node Kubernetes on this machine, without Docker.
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
  readonly #remains: NodeRemains;
  readonly #progress: (line: string) => void;

  constructor(options: LocalClusterOptions) {
    this.#layout = new ClusterLayout({ name: options.name, stateHome: stateHome() });
    this.#remains = new NodeRemains({ layout: this.#layout });
    this.#progress = options.progress;
    this.name = options.name;
    this.context = options.name;
    this.stateDir = this.#layout.stateDir;
    this.kubeconfig = this.#layout.kubeconfig;
    this.binDir = this.#layout.binDir;
    this.logDir = this.#layout.logDir;
  }

  exists(): boolean {
    return existsSync(this.#layout.readyFile);
  }

  async up(): Promise<{ startedFresh: boolean }> {
    requireRoot("A local cluster");
    await ensurePackages(this.#progress);
    const binaries = await ensureBinaries(["kubernetes", "helm", "coredns"], this.#progress);
    const programs = { kubernetesDir: binaries.kubernetes, coredns: binaries.coredns, helm: binaries.helm };
    return this.#locked(async () => {
      const node = new ClusterNode({ layout: this.#layout, programs });
      const startedFresh = !(await this.#revive(node, programs));
      if (startedFresh) await this.#startAfresh(node);
      writeFileSync(this.#layout.readyFile, recipeOf(this.#layout, programs));
      await node.recycleVolumes();
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

  async health(): Promise<ComponentHealth[]> {
    // Paths only: asking after the health of a cluster must not build its programs.
    const programs = { kubernetesDir: this.binDir, coredns: `${this.binDir}/coredns`, helm: `${this.binDir}/helm` };
    return new ClusterNode({ layout: this.#layout, programs }).health();
  }

  async importImage(archivePath: string, reference: string): Promise<void> {
    if (!existsSync(this.#layout.containerdSocket)) {
      throw new ClusterError(
        "NOT_RUNNING",
        `The cluster ${this.name} is not running. Start it first: node scripts/cluster/main.ts up --name ${this.name}`,
      );
    }
    const result = await new ImageStore({ layout: this.#layout }).import(archivePath, reference);
    if (result.kind === "imported") this.#progress(`${this.name}: imported ${reference}`);
  }

  async #enterUserKubeconfig(): Promise<void> {
    const config = new UserKubeconfig();
    const current = config.currentContext();
    if (current !== undefined && current !== this.context) writeFileSync(this.#layout.previousContextFile, current);
    await config.add(readFileSync(this.kubeconfig, "utf8"));
  }

  /** False when nothing of the former cluster can be kept. */
  async #revive(node: ClusterNode, programs: Programs): Promise<boolean> {
    if (!this.exists()) return false;
    const sameRecipe = readFileSync(this.#layout.readyFile, "utf8") === recipeOf(this.#layout, programs);
    const health = await node.health();
    if (sameRecipe && health.every(({ state }) => state === "running")) return true;
    const failing = health.filter(({ state }) => state !== "running").map(({ component, state }) => `${component} ${state}`);
    this.#progress(`${this.name}: ${sameRecipe ? failing.join(", ") : "its programs or their flags have changed"}`);
    // Processes keep a deleted namespace to themselves: with that gone, or nobody alive, there is nothing to join.
    const joinable =
      health.some(({ state }) => state !== "stopped") && (await new NodeNetwork({ layout: this.#layout }).intact());
    if (sameRecipe && joinable && (await this.#rung("starting what is dead", async () => node.start()))) return true;
    return this.#rung("restarting everything in place, its data stay", async () => {
      await this.#remains.clear();
      await node.start();
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

  async #startAfresh(node: ClusterNode): Promise<void> {
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
    await withElapsed({ label: `${this.name}: starting`, progress: this.#progress }, async () => node.start());
  }

  async #locked<T>(body: () => Promise<T>): Promise<T> {
    const onWait = (holder: string): void => this.#progress(`${this.name}: ${holder} is working on it, waiting`);
    return withFileLock({ path: this.#layout.lockFile, deadlineMs: LOCK_DEADLINE_MS, onWait }, body);
  }
}

/** Changes when a version or a flag does: a running cluster then has to be restarted to be what this code says. */
function recipeOf(layout: ClusterLayout, programs: Programs): string {
  return createHash("sha256")
    .update(JSON.stringify(componentSpecs(layout, programs)))
    .digest("hex");
}
