import { join } from "node:path";
import type { ComponentSpec } from "./component.ts";
import { type ClusterLayout, network, nodeName } from "./layout.ts";

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

export function componentSpecs(layout: ClusterLayout, programs: Programs): Record<ComponentName, ComponentSpec> {
  const program = (name: string): string => join(programs.kubernetesDir, name);
  const config = (name: string): string => layout.configFile(name);
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
        "--unsafe-no-fsync",
      ],
      probe: { kind: "http", url: "http://127.0.0.1:2379/health" },
    },
    containerd: {
      name: "containerd",
      file: "containerd",
      args: [`--config=${config("containerd.toml")}`],
      probe: { kind: "socket", path: layout.containerdSocket },
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
    kubelet: {
      name: "kubelet",
      file: program("kubelet"),
      args: [
        `--config=${config("kubelet.yaml")}`,
        `--kubeconfig=${layout.kubeconfigOf("kubelet")}`,
        `--hostname-override=${nodeName}`,
        `--node-ip=${network.nodeAddress}`,
        `--root-dir=${layout.kubeletDir}`,
        `--cert-dir=${layout.pkiDir}`,
      ],
      probe: { kind: "http", url: "http://127.0.0.1:10248/healthz" },
    },
    proxy: {
      name: "proxy",
      file: program("kube-proxy"),
      args: [`--config=${config("kube-proxy.yaml")}`],
      probe: { kind: "http", url: "http://127.0.0.1:10256/healthz" },
    },
    coredns: {
      name: "coredns",
      file: programs.coredns,
      args: ["-conf", config("Corefile")],
      probe: { kind: "http", url: "http://127.0.0.1:8181/ready" },
    },
  };
}

function apiServerArgs(layout: ClusterLayout): string[] {
  return [
    "--etcd-servers=http://127.0.0.1:2379",
    `--advertise-address=${network.nodeAddress}`,
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
