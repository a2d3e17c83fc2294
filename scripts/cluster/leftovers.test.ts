import { expect, it } from "vitest";
import { ClusterLayout } from "./layout.ts";
import { isRuntimeOf } from "./leftovers.ts";

const layout = new ClusterLayout({ name: "millrace", stateHome: "/s" }).node("node0");
const shim = "/usr/bin/containerd-shim-runc-v2";

it("owns the shims of its containerd and the runcs of its root", () => {
  expect(isRuntimeOf([shim, "-namespace", "k8s.io", "-id", "1", "-address", layout.containerdSocket], layout)).toBe(true);
  expect(isRuntimeOf(["runc", "--root", `${layout.containerdDir}/runc/k8s.io`, "create"], layout)).toBe(true);
});

it.each([
  ["another cluster's shim", [shim, "-address", "/s/clusters/millrace-e2e/containerd.sock"]],
  ["the other node's shim", [shim, "-address", "/s/clusters/millrace/node1/containerd.sock"]],
  ["the other node's runc", ["runc", "--root", "/s/clusters/millrace/node1/containerd/runc/k8s.io", "create"]],
  ["the machine's own shim", [shim, "-address", "/run/containerd/containerd.sock"]],
  ["the machine's own runc", ["runc", "--root", "/run/runc", "list"]],
  ["someone who reads our files", ["less", `${layout.containerdDir}/config`, layout.containerdSocket]],
  ["a kernel thread", [""]],
])("leaves %s alone", (_, argv) => {
  expect(isRuntimeOf(argv, layout)).toBe(false);
});
