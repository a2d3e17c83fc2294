import { expect, it } from "vitest";
import { missingPackages } from "./preflight.ts";

it("asks for nothing on a machine that has everything", () => {
  expect(missingPackages("/usr/bin", () => true)).toEqual([]);
});

it("names the Debian package of each program that is nowhere on the PATH, and of each file that is missing", () => {
  const there = new Set(["/usr/bin/containerd", "/opt/bin/etcd", "/usr/lib/cni/bridge"]);
  const missing = missingPackages("/usr/bin:/opt/bin", (file) => there.has(file));
  expect(missing).toContain("runc");
  expect(missing).toContain("busybox-static");
  for (const name of ["containerd", "etcd-server", "containernetworking-plugins"]) expect(missing).not.toContain(name);
});
