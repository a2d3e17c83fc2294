import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { parse } from "yaml";
import { componentSpecs } from "./control-plane.ts";
import { ClusterLayout } from "./layout.ts";
import { nodeLostAfterSeconds, writeNodeConfig } from "./node-config.ts";

let home: string;
let cluster: ClusterLayout;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "mill-"));
  cluster = new ClusterLayout({ name: "mill", stateHome: home });
  mkdirSync(cluster.pkiDir, { recursive: true });
  for (const name of ["ca", "kubelet", "node1-kubelet", "proxy"]) {
    for (const ending of ["crt", "key"]) writeFileSync(cluster.pki(`${name}.${ending}`), `${name} ${ending}`);
  }
});
afterEach(() => rmSync(home, { recursive: true }));

it("gives node1 its own range, gateway and address book, so that its own kube-proxy translates service addresses", () => {
  const node = cluster.node("node1");
  writeNodeConfig(node);
  const { name, plugins } = JSON.parse(readFileSync(join(node.cniDir, "10-bridge.conflist"), "utf8"));
  expect(name).toBe("mill-node1");
  expect(plugins[0].ipam.dataDir).toBe(join(node.dir, "ipam"));
  expect(plugins[0].ipam.ranges[0][0]).toMatchObject({
    subnet: "10.111.0.0/16",
    rangeStart: "10.111.20.1",
    rangeEnd: "10.111.23.254",
    gateway: "10.111.0.2",
  });
});

it("lets node1 speak as itself, to the one API server and DNS", () => {
  const node = cluster.node("node1");
  writeNodeConfig(node);
  const kubelet = parse(readFileSync(node.configFile("kubelet.yaml"), "utf8"));
  expect(kubelet.clusterDNS).toEqual(["10.111.0.1"]);
  expect(kubelet.cgroupRoot).toBe("/mill-node1");
  expect(kubelet.containerRuntimeEndpoint).toBe(`unix://${node.containerdSocket}`);
  const access = parse(readFileSync(node.kubeconfigOf("kubelet"), "utf8"));
  expect(Buffer.from(access.users[0].user["client-certificate-data"], "base64").toString()).toBe("node1-kubelet crt");
  expect(access.clusters[0].cluster.server).toBe("https://10.111.0.1:6443");
  expect(parse(readFileSync(node.configFile("kube-proxy.yaml"), "utf8")).hostnameOverride).toBe("node1");
});

it("has a kubelet give several signs of life in the time after which its node is taken for lost", () => {
  const node = cluster.node("node0");
  writeNodeConfig(node);
  const { nodeLeaseDurationSeconds } = parse(readFileSync(node.configFile("kubelet.yaml"), "utf8"));
  const renewEverySeconds = nodeLeaseDurationSeconds / 4;
  expect(nodeLostAfterSeconds / renewEverySeconds).toBeGreaterThanOrEqual(5);
  const { "controller-manager": manager } = componentSpecs(node, { kubernetesDir: "/k", coredns: "/c" });
  expect(manager?.args).toContain(`--node-monitor-grace-period=${nodeLostAfterSeconds}s`);
});

it("names nothing of node1 in node0's files", () => {
  const node = cluster.node("node0");
  writeNodeConfig(node);
  for (const folder of [node.configDir, node.cniDir]) {
    for (const file of readdirSync(folder)) expect(readFileSync(join(folder, file), "utf8")).not.toContain("node1");
  }
});
