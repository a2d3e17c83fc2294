import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { ClusterError } from "./cluster-error.ts";
import { poll } from "./polling.ts";
import { formatIdentity, identityOf, isAlive, parseIdentity } from "./process-identity.ts";

export interface FileLockOptions {
  readonly path: string;
  readonly deadlineMs: number;
  /** Told once, with the holder, when the lock is not free at the first try. */
  readonly onWait?: (holder: string) => void;
}

/** Locks of other programs (kubectl writes an empty file) carry no identity; none of them holds one for this long. */
const FOREIGN_LOCK_STALE_MS = 10_000;

type Attempt = { readonly kind: "taken" } | { readonly kind: "held"; readonly holder: string } | { readonly kind: "stale" };

/**
 * free → taken by link(2), which makes the lock and its holder's identity visible in one step → free by unlink.
 * A lock whose holder is dead (SIGKILL, reboot) is moved aside by rename, which only one contender can win.
 */
export async function withFileLock<T>(options: FileLockOptions, body: () => Promise<T>): Promise<T> {
  mkdirSync(dirname(options.path), { recursive: true });
  let told = false;
  await poll(
    () => {
      const attempt = tryTake(options.path);
      if (attempt.kind === "taken") return true;
      if (attempt.kind === "held" && !told) {
        told = true;
        options.onWait?.(attempt.holder);
      }
      return undefined;
    },
    { what: `the lock ${options.path}`, deadlineMs: options.deadlineMs, intervalMs: 50 },
  ).catch((cause: unknown) => {
    throw new ClusterError(
      "LOCKED",
      `Another process holds ${options.path}. Wait for it to end, or delete the file if none is running.`,
      { cause },
    );
  });
  try {
    return await body();
  } finally {
    rmSync(options.path, { force: true });
  }
}

function tryTake(path: string): Attempt {
  const identity = identityOf(process.pid);
  if (identity === undefined)
    throw new ClusterError("LOCKED", "/proc is not mounted, so no lock can name its holder. Mount /proc.");
  const draft = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  writeFileSync(draft, formatIdentity(identity));
  try {
    linkSync(draft, path);
    return { kind: "taken" };
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    return examine(path, `${draft}.stale`);
  } finally {
    rmSync(draft, { force: true });
  }
}

function examine(path: string, aside: string): Attempt {
  try {
    const content = readFileSync(path, "utf8");
    const holder = parseIdentity(content);
    const stale = holder === undefined ? Date.now() - statSync(path).mtimeMs > FOREIGN_LOCK_STALE_MS : !isAlive(holder);
    if (!stale) return { kind: "held", holder: holder === undefined ? "another program" : `process ${holder.pid}` };
    renameSync(path, aside);
    rmSync(aside, { force: true });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
  return { kind: "stale" };
}
