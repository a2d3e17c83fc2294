import type { GoModule } from "./go-module.ts";

export const binaryNames = ["kubernetes", "helm", "coredns", "nats-server", "keda", "helm3", "kwok", "versitygw"] as const;
export type BinaryName = (typeof binaryNames)[number];

/** What `up` builds. The others are built when something asks for them. */
export const baseBinaries: readonly BinaryName[] = ["kubernetes", "helm", "coredns", "nats-server"];

export interface Recipe {
  readonly module: GoModule;
  /** Several programs of one module are linked in one `go build`, and the cache entry is then a folder. */
  readonly packages: readonly string[];
  /** Building against Kubernetes' own staging modules reuses what its compile left in Go's cache. */
  readonly sharesKubernetesModules: boolean;
  readonly linkerFlags: readonly string[];
  /** Folders of the module that come along beside the programs. */
  readonly carries?: readonly string[];
  readonly typicalSeconds: number;
}

export const kubernetes: GoModule = { path: "k8s.io/kubernetes", version: "v1.36.3" };
export const goVersion = "1.26.0";
export const godebugDefault = "go1.26";

export const kubernetesPrograms = [
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kubelet",
  "kube-proxy",
  "kubectl",
] as const;

const keda: GoModule = { path: "github.com/kedacore/keda/v2", version: "v2.21.0" };
export const kedaPrograms = ["operator", "adapter", "webhooks"] as const;

/** Unstamped, Kubernetes calls itself v0.0.0-master, and clients then refuse features by version. */
function versionStamp(version: string): string[] {
  const [major = "", minor = ""] = version.replace(/^v/, "").split(".");
  return ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].flatMap((path) => [
    `-X ${path}.gitVersion=${version}`,
    `-X ${path}.gitMajor=${major}`,
    `-X ${path}.gitMinor=${minor}`,
  ]);
}

export const recipes: Record<BinaryName, Recipe> = {
  kubernetes: {
    module: kubernetes,
    packages: kubernetesPrograms.map((program) => `${kubernetes.path}/cmd/${program}`),
    sharesKubernetesModules: true,
    linkerFlags: versionStamp(kubernetes.version),
    typicalSeconds: 310,
  },
  helm: {
    module: { path: "helm.sh/helm/v4", version: "v4.3.1" },
    packages: ["helm.sh/helm/v4/cmd/helm"],
    sharesKubernetesModules: true,
    linkerFlags: ["-X helm.sh/helm/v4/internal/version.version=v4.3.1"],
    typicalSeconds: 90,
  },
  coredns: {
    module: { path: "github.com/coredns/coredns", version: "v1.15.0" },
    packages: ["github.com/coredns/coredns"],
    sharesKubernetesModules: true,
    linkerFlags: [],
    typicalSeconds: 85,
  },
  "nats-server": {
    module: { path: "github.com/nats-io/nats-server/v2", version: "v2.15.2" },
    packages: ["github.com/nats-io/nats-server/v2"],
    sharesKubernetesModules: false,
    linkerFlags: [],
    typicalSeconds: 16,
  },
  keda: {
    module: keda,
    packages: kedaPrograms.map((program) => `${keda.path}/cmd/${program}`),
    sharesKubernetesModules: true,
    linkerFlags: [`-X ${keda.path}/version.Version=${keda.version.slice(1)}`],
    carries: ["config"],
    typicalSeconds: 360,
  },
  helm3: {
    module: { path: "helm.sh/helm/v3", version: "v3.22.0" },
    packages: ["helm.sh/helm/v3/cmd/helm"],
    sharesKubernetesModules: true,
    linkerFlags: ["-X helm.sh/helm/v3/internal/version.version=v3.22.0"],
    typicalSeconds: 120,
  },
  /** Nodes that are none: benchmarks need ten thousand pods that run, and no machine here runs them. */
  kwok: {
    module: { path: "sigs.k8s.io/kwok", version: "v0.8.0" },
    packages: ["sigs.k8s.io/kwok/cmd/kwok"],
    sharesKubernetesModules: false,
    linkerFlags: [],
    typicalSeconds: 80,
  },
  /** An S3 in one program, on a folder: what the image jobs are tried against. */
  versitygw: {
    module: { path: "github.com/versity/versitygw", version: "v1.8.0" },
    packages: ["github.com/versity/versitygw/cmd/versitygw"],
    sharesKubernetesModules: false,
    linkerFlags: ["-X main.Version=v1.8.0"],
    typicalSeconds: 90,
  },
};
