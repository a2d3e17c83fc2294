import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const unifiedControllers = ["cpuset", "cpu", "io", "memory", "pids", "hugetlb"];

/**
 * The kubelet's cgroup root, one per cluster: two kubelets under the same root clean up each other's pods.
 * On cgroup v1 it is one folder per controller, on v2 a single one.
 */
export class NodeCgroup {
  readonly #name: string;
  readonly #mount: string;

  /** `mount` defaults to /sys/fs/cgroup. */
  constructor(options: { readonly name: string; readonly mount?: string }) {
    this.#name = options.name;
    this.#mount = options.mount ?? "/sys/fs/cgroup";
  }

  create(): void {
    if (existsSync(join(this.#mount, "cgroup.controllers"))) this.#createUnified();
    else this.#createPerController();
  }

  /** Every process in the cgroup or below it, pods' included; the way to children whose parents are dead. */
  processes(): number[] {
    const pids = this.#folders().flatMap((folder) => readLines(join(folder, "cgroup.procs")).map(Number));
    return [...new Set(pids)];
  }

  /** Deepest first. A folder that is busy stays, and the caller sees it by `exists`. */
  remove(): void {
    for (const folder of this.#folders().reverse()) {
      try {
        rmdirSync(folder);
      } catch {
        // A process that was just killed leaves its cgroup a moment later: the caller asks again.
      }
    }
  }

  exists(): boolean {
    return this.#roots().length > 0;
  }

  #createUnified(): void {
    const available = readLines(join(this.#mount, "cgroup.controllers")).join(" ").split(" ");
    const wanted = unifiedControllers.filter((controller) => available.includes(controller));
    const enable = wanted.map((controller) => `+${controller}`).join(" ");
    const root = join(this.#mount, this.#name);
    writeFileSync(join(this.#mount, "cgroup.subtree_control"), enable);
    mkdirSync(root, { recursive: true });
    writeFileSync(join(root, "cgroup.subtree_control"), enable);
  }

  #createPerController(): void {
    for (const controller of readdirSync(this.#mount)) {
      const mount = join(this.#mount, controller);
      // Only v1 hierarchies have a `tasks` file: skips the "unified" mount of hybrid machines.
      if (existsSync(join(mount, "tasks"))) mkdirSync(join(mount, this.#name), { recursive: true });
    }
    // A new cpuset is empty, and no process can enter an empty one.
    for (const file of ["cpuset.cpus", "cpuset.mems"]) {
      const source = join(this.#mount, "cpuset", file);
      if (existsSync(source)) writeFileSync(join(this.#mount, "cpuset", this.#name, file), readFileSync(source));
    }
  }

  #roots(): string[] {
    const perController = existsSync(this.#mount)
      ? readdirSync(this.#mount).map((entry) => join(this.#mount, entry, this.#name))
      : [];
    return [join(this.#mount, this.#name), ...perController].filter((folder) => existsSync(join(folder, "cgroup.procs")));
  }

  /** Parents before children. */
  #folders(): string[] {
    const found = this.#roots();
    for (const folder of found) {
      for (const entry of subfolders(folder)) found.push(entry);
    }
    return found;
  }
}

function subfolders(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? [join(folder, entry.name)] : [],
    );
  } catch {
    return [];
  }
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, "utf8")
      .split("\n")
      .filter((line) => line !== "");
  } catch {
    return [];
  }
}
