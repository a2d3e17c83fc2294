import { join } from "node:path";
import type { ComponentSpec } from "./component.ts";
import type { ClusterLayout } from "./layout.ts";
import { network } from "./network.ts";
import { nodeLostAfterSeconds } from "./node-config.ts";
import type { NodeLayout } from "./node-layout.ts";

export interface Programs {
  readonly kubernetesDir: string;
  readonly coredns: string;
}

/** Started in this order: nothing in the second group survives without an API server that answers, nor the third without its objects. */
export const startOrder = [
  ["etcd", "containerd", "apiserver"],
  ["controller-manager", "scheduler", "kubelet", "proxy"],
  ["coredns"],
] as const;

export type ComponentName = (typeof startOrder)[number][number];
type NodeComponentName = "containerd" | "kubelet" | "proxy";

/** What runs beside node0's own programs, in the same namespace. */
function controlPlaneSpecs(
  layout: ClusterLayout,
  programs: Programs,
): Record<Exclude<ComponentName, NodeComponentName>, ComponentSpec> {
  const program = (name: string): string => join(programs.kubernetesDir, name);
  return {
    etcd: {
      name: "etcd",
      file: "etcd",
      args: [
        `--data-dir=${layout.etcdDir}`,
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        // A development cluster: worth starting afresh after a power cut, not worth a disk flush per write. A killed process loses nothing.
        ...(layout.durable ? [] : ["--unsafe-no-fsync"]),
      ],
      probe: { kind: "http", url: "http://127.0.0.1:2379/health" },
    },
    apiserver: {
      name: "apiserver",
      file: program("kube-apiserver"),
      args: apiServerArgs(layout),
      probe: { kind: "http", url: `https://127.0.0.1:${network.apiPort}/readyz` },
    },
    "controller-manager": {
      name: "controller-manager",
      file: program("kube-controller-manager"),
      args: [
        `--kubeconfig=${layout.kubeconfigOf("controller-manager")}`,
        `--service-account-private-key-file=${layout.pki("service-account.key")}`,
        `--root-ca-file=${layout.pki("ca.crt")}`,
        `--cluster-signing-cert-file=${layout.pki("ca.crt")}`,
        `--cluster-signing-key-file=${layout.pki("ca.key")}`,
        `--cluster-cidr=${network.nodeSubnet}`,
        "--allocate-node-cidrs=false",
        // Sooner than the default of 50 s, so that what follows the loss of a node can be tried; far more than a busy machine keeps a kubelet waiting.
        `--node-monitor-grace-period=${nodeLostAfterSeconds}s`,
        "--node-monitor-period=1s",
        "--use-service-account-credentials",
        // The only one of its kind: a lease would only make each restart wait for the old one to run out.
        "--leader-elect=false",
      ],
      probe: { kind: "http", url: "https://127.0.0.1:10257/healthz" },
    },
    scheduler: {
      name: "scheduler",
      file: program("kube-scheduler"),
      args: [`--kubeconfig=${layout.kubeconfigOf("scheduler")}`, "--leader-elect=false"],
      probe: { kind: "http", url: "https://127.0.0.1:10259/healthz" },
    },
    coredns: {
      name: "coredns",
      file: programs.coredns,
      args: ["-conf", layout.configFile("Corefile")],
      probe: { kind: "http", url: "http://127.0.0.1:8181/ready" },
    },
  };
}

/** What every node runs. */
function nodeSpecs(node: NodeLayout, programs: Programs): Record<NodeComponentName, ComponentSpec> {
  const program = (name: string): string => join(programs.kubernetesDir, name);
  return {
    containerd: {
      name: node.componentName("containerd"),
      file: "containerd",
      args: [`--config=${node.configFile("containerd.toml")}`],
      probe: { kind: "socket", path: node.containerdSocket },
    },
    kubelet: {
      name: node.componentName("kubelet"),
      file: program("kubelet"),
      args: [
        `--config=${node.configFile("kubelet.yaml")}`,
        `--kubeconfig=${node.kubeconfigOf("kubelet")}`,
        `--hostname-override=${node.name}`,
        `--node-ip=${node.address}`,
        `--root-dir=${node.kubeletDir}`,
        `--cert-dir=${node.cluster.pkiDir}`,
      ],
      probe: { kind: "http", url: "http://127.0.0.1:10248/healthz" },
    },
    proxy: {
      name: node.componentName("proxy"),
      file: program("kube-proxy"),
      args: [`--config=${node.configFile("kube-proxy.yaml")}`],
      probe: { kind: "http", url: "http://127.0.0.1:10256/healthz" },
    },
  };
}

/** The programs of one node by what they do; node0 has the control plane too. */
export function componentSpecs(node: NodeLayout, programs: Programs): Partial<Record<ComponentName, ComponentSpec>> {
  const own = nodeSpecs(node, programs);
  if (node.name !== "node0") return own;
  const { etcd, apiserver, coredns, ...rest } = controlPlaneSpecs(node.cluster, programs);
  // In the order that they always had: the recipe of a running cluster is a hash over this.
  return {
    etcd,
    containerd: own.containerd,
    apiserver,
    "controller-manager": rest["controller-manager"],
    scheduler: rest.scheduler,
    kubelet: own.kubelet,
    proxy: own.proxy,
    coredns,
  };
}

function apiServerArgs(layout: ClusterLayout): string[] {
  return [
    "--etcd-servers=http://127.0.0.1:2379",
    `--advertise-address=${network.controlPlaneAddress}`,
    "--bind-address=0.0.0.0",
    `--secure-port=${network.apiPort}`,
    `--service-cluster-ip-range=${network.serviceSubnet}`,
    `--client-ca-file=${layout.pki("ca.crt")}`,
    `--tls-cert-file=${layout.pki("apiserver.crt")}`,
    `--tls-private-key-file=${layout.pki("apiserver.key")}`,
    `--kubelet-client-certificate=${layout.pki("apiserver-kubelet.crt")}`,
    `--kubelet-client-key=${layout.pki("apiserver-kubelet.key")}`,
    "--kubelet-preferred-address-types=InternalIP",
    `--service-account-key-file=${layout.pki("service-account.key")}`,
    `--service-account-signing-key-file=${layout.pki("service-account.key")}`,
    `--service-account-issuer=https://kubernetes.default.svc.${network.clusterDomain}`,
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
    "--allow-privileged=true",
    // Debian's etcd 3.4 cannot do it, and with it on, every watch from version 0 fails: kwok's, and that of older clients.
    "--feature-gates=WatchList=false",
    // Aggregated APIs (KEDA's external metrics) are called as the front proxy, at pod addresses: there is no kube-proxy in front of this process.
    "--enable-aggregator-routing=true",
    `--requestheader-client-ca-file=${layout.pki("ca.crt")}`,
    "--requestheader-allowed-names=front-proxy",
    "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    "--requestheader-group-headers=X-Remote-Group",
    "--requestheader-username-headers=X-Remote-User",
    `--proxy-client-cert-file=${layout.pki("front-proxy.crt")}`,
    `--proxy-client-key-file=${layout.pki("front-proxy.key")}`,
  ];
}
