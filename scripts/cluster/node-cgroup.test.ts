import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { NodeCgroup } from "./node-cgroup.ts";

let mount: string;

function put(path: string, content: string): void {
  mkdirSync(dirname(join(mount, path)), { recursive: true });
  writeFileSync(join(mount, path), content);
}

beforeEach(() => {
  mount = mkdtempSync(join(tmpdir(), "millrace-cgroup-"));
});
afterEach(() => rmSync(mount, { recursive: true, force: true }));

it("on v1 is in every controller but the unified mount, with the CPUs and memory nodes of its parent", () => {
  for (const controller of ["cpuset", "memory", "systemd"]) put(`${controller}/tasks`, "");
  put("cpuset/cpuset.cpus", "0-1\n");
  put("cpuset/cpuset.mems", "0\n");
  put("unified/cgroup.procs", "");
  new NodeCgroup({ name: "mill", mount }).create();
  expect(readFileSync(join(mount, "cpuset/mill/cpuset.cpus"), "utf8")).toBe("0-1\n");
  expect(readFileSync(join(mount, "cpuset/mill/cpuset.mems"), "utf8")).toBe("0\n");
  expect(existsSync(join(mount, "memory/mill"))).toBe(true);
  expect(existsSync(join(mount, "systemd/mill"))).toBe(true);
  expect(existsSync(join(mount, "unified/mill"))).toBe(false);
});

it("on v2 hands down the controllers that the machine has, and asks for no others", () => {
  put("cgroup.controllers", "cpuset cpu io memory pids rdma\n");
  new NodeCgroup({ name: "mill", mount }).create();
  expect(readFileSync(join(mount, "mill/cgroup.subtree_control"), "utf8")).toBe("+cpuset +cpu +io +memory +pids");
});

it("finds processes at every depth, and only below its own name", () => {
  put("memory/mill/cgroup.procs", "11\n");
  put("memory/mill/kubepods/pod1/cgroup.procs", "12\n13\n");
  put("cpuset/mill/cgroup.procs", "11\n");
  put("memory/mill-e2e/cgroup.procs", "99\n");
  expect(new NodeCgroup({ name: "mill", mount }).processes().sort()).toEqual([11, 12, 13]);
});
