import { join } from "node:path";
import { componentSpecs } from "../../scripts/cluster/control-plane.ts";
import type { NodeLayout } from "../../scripts/cluster/node-layout.ts";
import { BenchProcess } from "./processes.ts";

/** Nobody renews the leases of fake nodes when the machine is busy, and their loss is not what is measured. */
const STAY_READY = "--node-monitor-grace-period=1h";

/** Their defaults (20 and 50 requests per second) would need three quarters of an hour for the pods of ten thousand Jobs. */
const HASTE: Readonly<Record<"controller-manager" | "scheduler", readonly string[]>> = {
  "controller-manager": ["--kube-api-qps=1000", "--kube-api-burst=2000", "--concurrent-job-syncs=20", STAY_READY],
  scheduler: ["--kube-api-qps=1000", "--kube-api-burst=2000"],
};

/** Kubernetes' own controllers and scheduler, with leave to be quick: for an `api` cluster, where the cluster's own do not run. */
export class Controllers {
  readonly #processes: readonly BenchProcess[];

  constructor(options: { readonly node: NodeLayout; readonly binDir: string; readonly folder: string }) {
    const { node, binDir, folder } = options;
    const specs = componentSpecs(node, { kubernetesDir: binDir, coredns: "" });
    this.#processes = (["controller-manager", "scheduler"] as const).map((name) => {
      const { file = "", args = [] } = specs[name] ?? {};
      return new BenchProcess({ name, command: [file, ...args, ...HASTE[name]], logFile: join(folder, `${name}.log`) });
    });
  }

  async stop(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.stop()));
  }
}
