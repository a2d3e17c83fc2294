import { existsSync, readdirSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { command } from "./command.ts";
import { Daemon } from "./daemon.ts";
import type { ClusterLayout } from "./layout.ts";
import { Leftovers } from "./leftovers.ts";
import { NodeCgroup } from "./node-cgroup.ts";
import { NodeNetwork } from "./node-network.ts";

/**
 * Takes a node apart without needing anything of it to work: no programs, no control plane, no complete state folder.
 * `clear` is what a reboot does (data stay), `remove` leaves nothing; both may be repeated from wherever they stopped.
 */
export class NodeRemains {
  readonly #layout: ClusterLayout;
  readonly #cgroup: NodeCgroup;
  readonly #leftovers: Leftovers;

  constructor(options: { readonly layout: ClusterLayout }) {
    this.#layout = options.layout;
    this.#cgroup = new NodeCgroup({ name: options.layout.name });
    this.#leftovers = new Leftovers({ layout: options.layout, cgroup: this.#cgroup });
  }

  /** Anything at all, also when the state folder was deleted by hand. */
  exist(): boolean {
    return existsSync(this.#layout.stateDir) || existsSync(this.#layout.netnsFile) || this.#cgroup.exists();
  }

  async clear(): Promise<void> {
    await this.#stopDaemons();
    await this.#leftovers.killProcesses();
    await this.#leftovers.unmount();
    this.#leftovers.removeStrayFiles();
    await this.#leftovers.removeCgroups();
    await new NodeNetwork({ layout: this.#layout }).remove();
    for (const folder of [this.#layout.containerdStateDir, this.#layout.ipamDir])
      rmSync(folder, { recursive: true, force: true });
    rmSync(this.#layout.containerdSocket, { force: true });
  }

  async remove(): Promise<void> {
    await this.clear();
    // --one-file-system: were a mount to appear after all, its content is not the cluster's to delete.
    await command("rm", ["--recursive", "--force", "--one-file-system", this.#layout.stateDir]);
  }

  /** By the pid files that are there, not by the components of today: an older version's are stopped as well. */
  async #stopDaemons(): Promise<void> {
    const files = existsSync(this.#layout.pidDir) ? readdirSync(this.#layout.pidDir).filter((file) => file.endsWith(".pid")) : [];
    const daemons = files.map((file) => {
      const name = basename(file, ".pid");
      return new Daemon({ name, pidFile: this.#layout.pidFile(name), logFile: this.#layout.logFile(name) });
    });
    // First the one that would restart the pods.
    await Promise.all(daemons.filter(({ name }) => name === "kubelet").map(async (daemon) => daemon.stop()));
    await Promise.all(daemons.map(async (daemon) => daemon.stop()));
  }
}
