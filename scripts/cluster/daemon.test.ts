import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Daemon } from "./daemon.ts";
import { formatIdentity, identityOf, isAlive } from "./process-identity.ts";

let folder: string;
let child: ChildProcess;

/** The child says when its handlers are in place, so a signal cannot come too early. */
async function start(script: string): Promise<number> {
  child = spawn(process.execPath, ["-e", `${script}; setInterval(() => {}, 1e6); process.stdout.write("up")`], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  if (child.stdout === null || child.pid === undefined) throw new Error("no child");
  await once(child.stdout, "data");
  return child.pid;
}

function daemonIn(termGraceMs: number): Daemon {
  return new Daemon({ name: "thing", pidFile: join(folder, "thing.pid"), logFile: join(folder, "thing.log"), termGraceMs });
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-daemon-"));
});
afterEach(() => {
  child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

describe("Daemon", () => {
  it("is remembered across objects, and stops by TERM", async () => {
    const pid = await start("");
    daemonIn(5_000).record(pid);
    expect(daemonIn(5_000).running()?.pid).toBe(pid);
    const ended = once(child, "exit");
    await daemonIn(5_000).stop();
    expect(await ended).toEqual([null, "SIGTERM"]);
    expect(existsSync(join(folder, "thing.pid"))).toBe(false);
    await daemonIn(5_000).stop();
  });

  it("is killed when it ignores TERM", async () => {
    const daemon = daemonIn(50);
    daemon.record(await start('process.on("SIGTERM", () => {})'));
    const ended = once(child, "exit");
    await daemon.stop();
    expect(await ended).toEqual([null, "SIGKILL"]);
  });

  it.each(["startTicks", "bootId"] as const)(
    "never signals a process that only has the recorded pid: other %s",
    async (field) => {
      const identity = identityOf(await start(""));
      if (identity === undefined) throw new Error("no identity");
      writeFileSync(join(folder, "thing.pid"), formatIdentity({ ...identity, [field]: "0" }));
      expect(daemonIn(50).running()).toBeUndefined();
      await daemonIn(50).stop();
      expect(isAlive(identity)).toBe(true);
      expect(existsSync(join(folder, "thing.pid"))).toBe(false);
    },
  );

  it("says of a process that is gone what its log ended with", async () => {
    await start("");
    const daemon = daemonIn(5_000);
    expect(daemon.stoppedHealth()).toMatchObject({ state: "stopped", detail: "no process" });
    writeFileSync(daemon.logFile, "first\nbind: address already in use\n");
    expect(daemon.stoppedHealth().detail).toBe("no process; last line of its log: bind: address already in use");
  });
});
