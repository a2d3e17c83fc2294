import { describe, expect, it } from "vitest";
import { componentSpecs } from "./control-plane.ts";
import { ClusterLayout } from "./layout.ts";
import { namesOfNodes } from "./node-layout.ts";

const cluster = new ClusterLayout({ name: "millrace", stateHome: "/s" });
const node0 = cluster.node("node0");
const node1 = cluster.node("node1");
const programs = { kubernetesDir: "/k", coredns: "/c/coredns" };

describe("NodeLayout", () => {
  it("leaves node0 where it was before there was a second node", () => {
    expect(node0.dir).toBe(cluster.stateDir);
    expect(node0.netnsFile).toBe("/run/netns/millrace");
    expect(node0.cgroupPath).toBe("/millrace");
    expect(node0.logFile("kubelet")).toBe(cluster.logFile("kubelet"));
    expect(node0.pki("kubelet.crt")).toBe(cluster.pki("kubelet.crt"));
  });

  it("gives node1 a folder below the cluster's, and a name of its own for everything that is global on the machine", () => {
    expect(node1.dir).toBe("/s/clusters/millrace/node1");
    expect(node1.globalName).toBe("millrace-node1");
    expect(node1.netnsFile).toBe("/run/netns/millrace-node1");
    expect(node1.cgroupPath).toBe("/millrace-node1");
    expect(node1.logFile("kubelet")).toBe(cluster.logFile("node1-kubelet"));
    expect(node1.pki("kubelet.crt")).toBe(cluster.pki("node1-kubelet.crt"));
  });

  it("shares no folder, socket, address or pod range between nodes", () => {
    for (const key of [
      "cniDir",
      "configDir",
      "containerdDir",
      "containerdSocket",
      "ipamDir",
      "kubeletDir",
      "podLogDir",
    ] as const) {
      expect(node1[key]).not.toBe(node0[key]);
      expect(node1[key].startsWith(`${node1.dir}/`)).toBe(true);
    }
    expect(node1.address).not.toBe(node0.address);
    expect(node1.podRange[0] > node0.podRange[1]).toBe(true);
  });
});

it("counts nodes from node0 on", () => {
  expect(namesOfNodes(1)).toEqual(["node0"]);
  expect(namesOfNodes(2)).toEqual(["node0", "node1"]);
});

describe("componentSpecs", () => {
  it("has the control plane on node0 only", () => {
    expect(Object.keys(componentSpecs(node1, programs))).toEqual(["containerd", "kubelet", "proxy"]);
    expect(Object.keys(componentSpecs(node0, programs))).toEqual([
      "etcd",
      "containerd",
      "apiserver",
      "controller-manager",
      "scheduler",
      "kubelet",
      "proxy",
      "coredns",
    ]);
  });

  it("starts node1's programs with node1's name, address and files", () => {
    const { kubelet, containerd } = componentSpecs(node1, programs);
    expect(kubelet?.name).toBe("node1-kubelet");
    expect(kubelet?.args).toContain("--hostname-override=node1");
    expect(kubelet?.args).toContain("--node-ip=10.111.0.2");
    expect(containerd?.args).toEqual(["--config=/s/clusters/millrace/node1/config/containerd.toml"]);
  });
});
