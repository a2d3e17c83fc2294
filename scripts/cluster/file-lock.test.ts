import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { withFileLock } from "./file-lock.ts";
import { formatIdentity, identityOf } from "./process-identity.ts";

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-lock-"));
  path = join(folder, "lock");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("withFileLock", () => {
  it("lets one body in at a time", async () => {
    let inside = 0;
    let most = 0;
    const body = async (): Promise<void> => {
      inside += 1;
      most = Math.max(most, inside);
      await Promise.resolve();
      inside -= 1;
    };
    await Promise.all([1, 2, 3].map(() => withFileLock({ path, deadlineMs: 5_000 }, body)));
    expect(most).toBe(1);
    expect(readdirSync(folder)).toEqual([]);
  });

  it("is free again after a body that threw", async () => {
    const failing = withFileLock({ path, deadlineMs: 1_000 }, () => Promise.reject(new Error("body")));
    await expect(failing).rejects.toThrow("body");
    expect(existsSync(path)).toBe(false);
  });

  it("breaks the lock of a process that is dead, though its pid is in use again", async () => {
    writeFileSync(path, `${process.pid} 1 ${bootId()}\n`);
    await expect(withFileLock({ path, deadlineMs: 1_000 }, async () => "in")).resolves.toBe("in");
  });

  it("respects a living holder, names it once, and ends with LOCKED", async () => {
    const holder = identityOf(process.pid);
    if (holder === undefined) throw new Error("/proc does not know this process");
    writeFileSync(path, formatIdentity(holder));
    const told: string[] = [];
    const waiting = withFileLock({ path, deadlineMs: 120, onWait: (name) => told.push(name) }, async () => "in");
    await expect(waiting).rejects.toMatchObject({ code: "LOCKED" });
    expect(told).toEqual([`process ${process.pid}`]);
    expect(existsSync(path)).toBe(true);
  });

  it("waits for another program's fresh lock and breaks one it forgot", async () => {
    writeFileSync(path, "");
    await expect(withFileLock({ path, deadlineMs: 60 }, async () => "in")).rejects.toMatchObject({ code: "LOCKED" });
    utimesSync(path, 0, 0);
    await expect(withFileLock({ path, deadlineMs: 1_000 }, async () => "in")).resolves.toBe("in");
  });
});

function bootId(): string {
  return identityOf(process.pid)?.bootId ?? "";
}
