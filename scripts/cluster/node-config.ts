import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { stringify } from "yaml";
import { renderKubeconfig } from "./kubeconfig.ts";
import { type ClusterLayout, network, nodeName } from "./layout.ts";

export const pauseReference = "localhost/pause:1";

/** The files that components read at their start. Rewritten at every start, so a new version of this code reaches an old cluster. */
export function writeNodeConfig(layout: ClusterLayout): void {
  for (const folder of [
    layout.configDir,
    layout.cniDir,
    layout.logDir,
    layout.etcdDir,
    layout.kubeletDir,
    layout.containerdDir,
  ]) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }
  writeFileSync(layout.configFile("containerd.toml"), containerdConfig(layout));
  writeFileSync(`${layout.cniDir}/10-bridge.conflist`, JSON.stringify(cniConfig(layout), null, 2));
  writeFileSync(layout.configFile("kubelet.yaml"), stringify(kubeletConfig(layout)));
  writeFileSync(layout.configFile("kube-proxy.yaml"), stringify(proxyConfig(layout)));
  writeFileSync(layout.configFile("Corefile"), corefile(layout));
  for (const component of ["controller-manager", "scheduler", "kubelet", "proxy", "coredns"]) {
    const certificate = {
      ca: readFileSync(layout.pki("ca.crt")),
      cert: readFileSync(layout.pki(`${component}.crt`)),
      key: readFileSync(layout.pki(`${component}.key`)),
    };
    const server = `https://${network.nodeAddress}:${network.apiPort}`;
    writeFileSync(layout.kubeconfigOf(component), renderKubeconfig({ name: layout.name, server, ...certificate }), {
      mode: 0o600,
    });
  }
}

function containerdConfig(layout: ClusterLayout): string {
  const quoted = (path: string): string => JSON.stringify(path);
  return `version = 2
root = ${quoted(`${layout.containerdDir}/root`)}
state = ${quoted(layout.containerdStateDir)}

[grpc]
  address = ${quoted(layout.containerdSocket)}

# The default, /opt/containerd, is the whole machine's.
[plugins."io.containerd.internal.v1.opt"]
  path = ${quoted(`${layout.containerdDir}/opt`)}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseReference}"
  # Without CAP_SYS_RESOURCE an OOM score cannot be lowered; runc then dies with "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
  # Pods' namespaces below our own folder instead of /run/netns/cni-*: teardown knows whose they are.
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = ${quoted(layout.cniDir)}

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        # Two clusters share the "k8s.io" namespace name, and runc keeps its containers by that.
        Root = ${quoted(`${layout.containerdDir}/runc`)}
`;
}

function cniConfig(layout: ClusterLayout): object {
  const range = {
    subnet: network.nodeSubnet,
    rangeStart: network.podRangeStart,
    rangeEnd: network.podRangeEnd,
    gateway: network.nodeAddress,
  };
  return {
    cniVersion: "0.4.0",
    // Also the prefix of this cluster's files in /var/lib/cni, which teardown removes.
    name: layout.name,
    plugins: [
      {
        type: "bridge",
        bridge: network.bridge,
        isGateway: false,
        ipMasq: false,
        hairpinMode: true,
        // dataDir: the default one outlives `down`, until all addresses are taken.
        ipam: { type: "host-local", dataDir: layout.ipamDir, ranges: [[range]], routes: [{ dst: "0.0.0.0/0" }] },
      },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  };
}

function kubeletConfig(layout: ClusterLayout): object {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: layout.pki("ca.crt") } },
    authorization: { mode: "Webhook" },
    clusterDNS: [network.nodeAddress],
    clusterDomain: network.clusterDomain,
    cgroupDriver: "cgroupfs",
    cgroupRoot: layout.cgroupPath,
    containerRuntimeEndpoint: `unix://${layout.containerdSocket}`,
    tlsCertFile: layout.pki("kubelet.crt"),
    tlsPrivateKeyFile: layout.pki("kubelet.key"),
    failSwapOn: false,
    failCgroupV1: false,
    // The machine is not the cluster's alone: no limits on the root of its pods.
    enforceNodeAllocatable: [],
    // Images come by import only, so a collected one could not be pulled again.
    imageGCHighThresholdPercent: 100,
    evictionHard: { "memory.available": "100Mi", "nodefs.available": "1%" },
    maxPods: 200,
    // Names of the machine's resolver lead nowhere from inside.
    resolvConf: "",
    podLogsDir: layout.podLogDir,
    volumePluginDir: `${layout.kubeletDir}/volume-plugins`,
  };
}

function proxyConfig(layout: ClusterLayout): object {
  return {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "nftables",
    clientConnection: { kubeconfig: layout.kubeconfigOf("proxy") },
    clusterCIDR: network.nodeSubnet,
    hostnameOverride: nodeName,
    // Zero leaves the machine's conntrack sysctls alone; writing them is not permitted everywhere.
    conntrack: { maxPerCore: 0, tcpCloseWaitTimeout: "0s", tcpEstablishedTimeout: "0s" },
  };
}

function corefile(layout: ClusterLayout): string {
  return `.:53 {
  bind ${network.nodeAddress}
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
