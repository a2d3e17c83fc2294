import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { command } from "../../scripts/cluster/command.ts";
import { ClusterLayout, stateHome } from "../../scripts/cluster/layout.ts";
import type { NodeName } from "../../scripts/cluster/node-layout.ts";
import { persistentVolume } from "../../scripts/cluster/persistent-volume.ts";
import { testProfile } from "../../scripts/install/profile.ts";

interface LocalVolumeOptions {
  readonly name: string;
  readonly node: NodeName;
  /** A disk of so many MiB, which can be full; without it the machine's own. */
  readonly sizeMib?: number;
}

/** A StorageClass with one volume: a folder on a node of the tests' cluster. */
export class LocalVolume {
  /** Of the StorageClass, too. */
  readonly name: string;
  readonly folder: string;
  readonly #options: LocalVolumeOptions;

  constructor(options: LocalVolumeOptions) {
    const layout = new ClusterLayout({ name: testProfile.cluster, stateHome: stateHome() });
    this.name = options.name;
    this.folder = join(layout.volumeDir, options.name);
    this.#options = options;
  }

  async create(kubectl: (args: readonly string[], input?: string) => Promise<string>): Promise<void> {
    // What an earlier run was cut off from removing still belongs to a claim that is gone.
    await this.remove(kubectl);
    mkdirSync(this.folder, { recursive: true });
    const { sizeMib } = this.#options;
    if (sizeMib !== undefined) await command("mount", ["-t", "tmpfs", "-o", `size=${sizeMib}m`, "tmpfs", this.folder]);
    // NATS runs as a user that the folder was not made for.
    chmodSync(this.folder, 0o777);
    await kubectl(["apply", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items: this.#objects() }));
  }

  async remove(kubectl: (args: readonly string[], input?: string) => Promise<string>): Promise<void> {
    await kubectl(["delete", "persistentvolume,storageclass", this.name, "--ignore-not-found", "--wait=false"]);
    await command("umount", ["--lazy", this.folder]).catch(() => "");
    rmSync(this.folder, { recursive: true, force: true });
  }

  #objects(): object[] {
    const { name } = this;
    const storageClass = {
      apiVersion: "storage.k8s.io/v1",
      kind: "StorageClass",
      metadata: { name },
      provisioner: "kubernetes.io/no-provisioner",
      volumeBindingMode: "WaitForFirstConsumer",
    };
    const { node } = this.#options;
    return [storageClass, persistentVolume({ name, node, storageClass: name, folder: this.folder })];
  }
}
