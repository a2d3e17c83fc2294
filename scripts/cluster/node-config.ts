import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { stringify } from "yaml";
import { renderKubeconfig } from "./kubeconfig.ts";
import type { ClusterLayout } from "./layout.ts";
import { network } from "./network.ts";
import type { NodeLayout } from "./node-layout.ts";

/** A node of which nothing was heard for this long is NotReady. */
export const nodeLostAfterSeconds = 20;

export const pauseReference = "localhost/pause:1";

/** The files that the control plane reads at its start. Rewritten at every start, so a new version of this code reaches an old cluster. */
export function writeControlPlaneConfig(layout: ClusterLayout): void {
  for (const folder of [layout.configDir, layout.logDir, layout.etcdDir]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(layout.configFile("Corefile"), corefile(layout));
  for (const component of ["controller-manager", "scheduler", "coredns"]) {
    writeComponentKubeconfig(layout, layout.kubeconfigOf(component), component);
  }
}

/** The same for what runs on every node. */
export function writeNodeConfig(node: NodeLayout): void {
  for (const folder of [node.configDir, node.cniDir, node.cluster.logDir, node.kubeletDir, node.containerdDir]) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }
  writeFileSync(node.configFile("containerd.toml"), containerdConfig(node));
  writeFileSync(`${node.cniDir}/10-bridge.conflist`, JSON.stringify(cniConfig(node), null, 2));
  writeFileSync(node.configFile("kubelet.yaml"), stringify(kubeletConfig(node)));
  writeFileSync(node.configFile("kube-proxy.yaml"), stringify(proxyConfig(node)));
  writeComponentKubeconfig(node.cluster, node.kubeconfigOf("kubelet"), node.componentName("kubelet"));
  writeComponentKubeconfig(node.cluster, node.kubeconfigOf("proxy"), "proxy");
}

function writeComponentKubeconfig(layout: ClusterLayout, file: string, certificate: string): void {
  const access = {
    ca: readFileSync(layout.pki("ca.crt")),
    cert: readFileSync(layout.pki(`${certificate}.crt`)),
    key: readFileSync(layout.pki(`${certificate}.key`)),
  };
  const server = `https://${network.controlPlaneAddress}:${network.apiPort}`;
  writeFileSync(file, renderKubeconfig({ name: layout.name, server, ...access }), { mode: 0o600 });
}

function containerdConfig(node: NodeLayout): string {
  const quoted = (path: string): string => JSON.stringify(path);
  return `version = 2
root = ${quoted(`${node.containerdDir}/root`)}
state = ${quoted(node.containerdStateDir)}

[grpc]
  address = ${quoted(node.containerdSocket)}

# The default, /opt/containerd, is the whole machine's.
[plugins."io.containerd.internal.v1.opt"]
  path = ${quoted(`${node.containerdDir}/opt`)}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseReference}"
  # Without CAP_SYS_RESOURCE an OOM score cannot be lowered; runc then dies with "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
  # Pods' namespaces below our own folder instead of /run/netns/cni-*: teardown knows whose they are.
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = ${quoted(node.cniDir)}

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        # Two clusters share the "k8s.io" namespace name, and runc keeps its containers by that.
        Root = ${quoted(`${node.containerdDir}/runc`)}
`;
}

function cniConfig(node: NodeLayout): object {
  const [rangeStart, rangeEnd] = node.podRange;
  const range = {
    subnet: network.nodeSubnet,
    rangeStart,
    rangeEnd,
    // Each node's own: service addresses are translated by the kube-proxy of the node that the pod is on.
    gateway: node.address,
  };
  return {
    cniVersion: "0.4.0",
    // Also the prefix of this node's files in /var/lib/cni, which teardown removes.
    name: node.globalName,
    plugins: [
      {
        type: "bridge",
        bridge: network.bridge,
        isGateway: false,
        ipMasq: false,
        hairpinMode: true,
        // dataDir: the default one outlives `down`, until all addresses are taken.
        ipam: { type: "host-local", dataDir: node.ipamDir, ranges: [[range]], routes: [{ dst: "0.0.0.0/0" }] },
      },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  };
}

function kubeletConfig(node: NodeLayout): object {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: node.cluster.pki("ca.crt") },
    },
    authorization: { mode: "Webhook" },
    clusterDNS: [network.controlPlaneAddress],
    clusterDomain: network.clusterDomain,
    cgroupDriver: "cgroupfs",
    cgroupRoot: node.cgroupPath,
    containerRuntimeEndpoint: `unix://${node.containerdSocket}`,
    tlsCertFile: node.pki("kubelet.crt"),
    tlsPrivateKeyFile: node.pki("kubelet.key"),
    failSwapOn: false,
    failCgroupV1: false,
    // A sign of life each quarter of this: a node must miss many before it is given up.
    nodeLeaseDurationSeconds: nodeLostAfterSeconds / 2,
    // The machine is not the cluster's alone: no limits on the root of its pods.
    enforceNodeAllocatable: [],
    // Images come by import only, so a collected one could not be pulled again.
    imageGCHighThresholdPercent: 100,
    evictionHard: { "memory.available": "100Mi", "nodefs.available": "1%" },
    maxPods: 200,
    // Names of the machine's resolver lead nowhere from inside.
    resolvConf: "",
    podLogsDir: node.podLogDir,
    volumePluginDir: `${node.kubeletDir}/volume-plugins`,
  };
}

function proxyConfig(node: NodeLayout): object {
  return {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "nftables",
    clientConnection: { kubeconfig: node.kubeconfigOf("proxy") },
    clusterCIDR: network.nodeSubnet,
    hostnameOverride: node.name,
    // Zero leaves the machine's conntrack sysctls alone; writing them is not permitted everywhere.
    conntrack: { maxPerCore: 0, tcpCloseWaitTimeout: "0s", tcpEstablishedTimeout: "0s" },
  };
}

function corefile(layout: ClusterLayout): string {
  return `.:53 {
  bind ${network.controlPlaneAddress}
  errors
  health 127.0.0.1:8080
  ready 127.0.0.1:8181
  kubernetes ${network.clusterDomain} in-addr.arpa {
    kubeconfig ${layout.kubeconfigOf("coredns")}
    ttl 5
  }
  cache 5
  loadbalance
}
`;
}
