import { homedir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ClusterLayout, cacheHome, stateHome } from "./layout.ts";

describe("home folders", () => {
  it("follow XDG, and fall back when it is unset, empty or relative", () => {
    expect(stateHome({ XDG_STATE_HOME: "/var/state" })).toBe("/var/state/millrace");
    expect(cacheHome({ XDG_CACHE_HOME: "/var/cache" })).toBe("/var/cache/millrace");
    for (const value of [undefined, "", "relative"]) {
      expect(stateHome({ XDG_STATE_HOME: value })).toBe(join(homedir(), ".local/state/millrace"));
      expect(cacheHome({ XDG_CACHE_HOME: value })).toBe(join(homedir(), ".cache/millrace"));
    }
  });
});

describe("ClusterLayout", () => {
  it("shares no path between two clusters", () => {
    const one = new ClusterLayout({ name: "millrace", stateHome: "/s" });
    const two = new ClusterLayout({ name: "millrace-e2e", stateHome: "/s" });
    expect(one.stateDir).toBe("/s/clusters/millrace");
    expect(two.stateDir).toBe("/s/clusters/millrace-e2e");
    expect(one.node("node0").netnsFile).not.toBe(two.node("node0").netnsFile);
    expect(one.node("node0").cgroupPath).not.toBe(two.node("node0").cgroupPath);
    expect(one.lockFile).not.toBe(two.lockFile);
  });

  it("keeps the lock outside the folder that `down` removes", () => {
    const layout = new ClusterLayout({ name: "millrace", stateHome: "/s" });
    expect(layout.lockFile.startsWith(`${layout.stateDir}/`)).toBe(false);
  });

  it.each(["", "Big", "a/b", "..", "1st", "a b", "x".repeat(32), "millrace-node1"])("refuses the name %j", (name) => {
    expect(() => new ClusterLayout({ name, stateHome: "/s" })).toThrow(expect.objectContaining({ code: "NAME_INVALID" }));
  });

  it("refuses a folder too deep for Unix sockets", () => {
    expect(() => new ClusterLayout({ name: "millrace", stateHome: `/${"x".repeat(80)}` })).toThrow(/XDG_STATE_HOME/);
  });
});
