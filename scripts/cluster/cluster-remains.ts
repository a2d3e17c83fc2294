import { existsSync, readdirSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { command } from "./command.ts";
import { Daemon } from "./daemon.ts";
import type { ClusterLayout } from "./layout.ts";
import { Leftovers } from "./leftovers.ts";
import { NodeCgroup } from "./node-cgroup.ts";
import { type NodeLayout, type NodeName, nodeNames } from "./node-layout.ts";
import { NodeNetwork } from "./node-network.ts";

interface NodeRemains {
  readonly node: NodeLayout;
  readonly cgroup: NodeCgroup;
  readonly leftovers: Leftovers;
}

/**
 * Takes a cluster apart without needing anything of it to work: no programs, no control plane, no complete state folder. It looks for
 * every node that a cluster can have, whatever the state folder says. `clear` is what a reboot does (data stay), `remove` leaves
 * nothing; both may be repeated from wherever they stopped.
 */
export class ClusterRemains {
  readonly #layout: ClusterLayout;
  readonly #nodes: readonly NodeRemains[];

  constructor(options: { readonly layout: ClusterLayout }) {
    this.#layout = options.layout;
    this.#nodes = nodeNames.map((name) => {
      const node = options.layout.node(name);
      const cgroup = new NodeCgroup({ name: node.globalName });
      return { node, cgroup, leftovers: new Leftovers({ node, cgroup }) };
    });
  }

  /** Anything at all, also when the state folder was deleted by hand. */
  exist(): boolean {
    return (
      existsSync(this.#layout.stateDir) || this.#nodes.some(({ node, cgroup }) => existsSync(node.netnsFile) || cgroup.exists())
    );
  }

  async clear(): Promise<void> {
    await this.#stopDaemons(() => true);
    await this.#clearNodes(this.#nodes);
  }

  async remove(): Promise<void> {
    await this.clear();
    await removeFolder(this.#layout.stateDir);
  }

  /** One node, while the others run on. Not for node0: the control plane lives there. */
  async removeNode(name: Exclude<NodeName, "node0">): Promise<void> {
    await this.#stopDaemons((daemon) => daemon.startsWith(`${name}-`));
    await this.#clearNodes(this.#nodes.filter(({ node }) => node.name === name));
    await removeFolder(this.#layout.node(name).dir);
  }

  /** SIGKILL for everything that runs on a node, pods included, and /run emptied of it: what a power cut is to the others. */
  async killNode(name: NodeName): Promise<void> {
    for (const { leftovers } of this.#nodes.filter(({ node }) => node.name === name)) {
      await leftovers.killProcesses();
      leftovers.removeShimSockets();
    }
  }

  /** Processes of all nodes before anything else of any: node0's folder holds the others', and a mount in use stays. */
  async #clearNodes(nodes: readonly NodeRemains[]): Promise<void> {
    for (const { leftovers } of nodes) await leftovers.killProcesses();
    for (const { node, leftovers } of nodes) {
      await leftovers.unmount();
      leftovers.removeStrayFiles();
      await leftovers.removeCgroups();
      await new NodeNetwork({ node }).remove();
      for (const folder of [node.containerdStateDir, node.ipamDir]) rmSync(folder, { recursive: true, force: true });
      rmSync(node.containerdSocket, { force: true });
    }
  }

  /** By the pid files that are there, not by the components of today: an older version's are stopped as well. */
  async #stopDaemons(wanted: (name: string) => boolean): Promise<void> {
    const { pidDir } = this.#layout;
    const names = (existsSync(pidDir) ? readdirSync(pidDir) : [])
      .filter((file) => file.endsWith(".pid"))
      .map((file) => basename(file, ".pid"));
    const daemons = names.filter(wanted).map((name) => {
      return new Daemon({ name, pidFile: this.#layout.pidFile(name), logFile: this.#layout.logFile(name) });
    });
    // First those that would restart the pods.
    await Promise.all(daemons.filter(({ name }) => name.endsWith("kubelet")).map(async (daemon) => daemon.stop()));
    await Promise.all(daemons.map(async (daemon) => daemon.stop()));
  }
}

/** --one-file-system: were a mount to appear after all, its content is not the cluster's to delete. */
async function removeFolder(folder: string): Promise<void> {
  await command("rm", ["--recursive", "--force", "--one-file-system", folder]);
}
