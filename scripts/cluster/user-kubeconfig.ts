import { existsSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { ClusterError } from "./cluster-error.ts";
import { withFileLock } from "./file-lock.ts";
import { currentContext, mergeKubeconfig, namesContext, unmergeKubeconfig } from "./kubeconfig.ts";

const LOCK_DEADLINE_MS = 15_000;

/** KUBECONFIG may be a list: as kind does, the first file that exists, else the last one. */
export function userKubeconfigPath(
  environment: Readonly<Record<string, string | undefined>>,
  exists: (path: string) => boolean,
): string {
  const paths = (environment["KUBECONFIG"] ?? "").split(delimiter).filter((path) => path !== "");
  return paths.find(exists) ?? paths.at(-1) ?? join(homedir(), ".kube", "config");
}

/** The user's own kubeconfig, shared with every other tool on the machine: read, changed and replaced under kubectl's own lock file. */
export class UserKubeconfig {
  readonly path: string;

  constructor(options: { readonly path?: string } = {}) {
    this.path = options.path ?? userKubeconfigPath(process.env, existsSync);
  }

  currentContext(): string | undefined {
    return this.#parsed(currentContext);
  }

  async add(addition: string): Promise<void> {
    await this.#change((existing) => mergeKubeconfig(existing, addition));
  }

  async remove(name: string, previous?: string): Promise<void> {
    if (!existsSync(this.path) || !this.#parsed((text) => namesContext(text, name))) return;
    await this.#change((existing) => unmergeKubeconfig(existing, name, previous));
  }

  async #change(change: (existing: string) => string): Promise<void> {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    await withFileLock({ path: `${this.path}.lock`, deadlineMs: LOCK_DEADLINE_MS }, async () => {
      const before = this.#text();
      const after = this.#parsed(change);
      if (after === before) return;
      // A link (dotfiles in a repository) stays one: what it points to is replaced.
      const target = existsSync(this.path) ? realpathSync(this.path) : this.path;
      const draft = `${target}.${process.pid}.draft`;
      try {
        writeFileSync(draft, after, { mode: 0o600 });
        renameSync(draft, target);
      } finally {
        rmSync(draft, { force: true });
      }
    });
  }

  #text(): string {
    return existsSync(this.path) ? readFileSync(this.path, "utf8") : "";
  }

  #parsed<T>(read: (text: string) => T): T {
    try {
      return read(this.#text());
    } catch (cause) {
      throw new ClusterError(
        "COMMAND_FAILED",
        `${this.path} is not a kubeconfig. Repair it, or set KUBECONFIG to another file.`,
        { cause },
      );
    }
  }
}
