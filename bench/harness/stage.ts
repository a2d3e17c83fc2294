import type { KubeAccess } from "../../libs/kube/access.ts";
import type { BenchCluster, ClusterShape } from "./bench-cluster.ts";
import type { Report } from "./report.ts";

/** What a bench is given: the cluster in the shape that it asked for, seen from within its network namespace. */
export interface Stage {
  readonly cluster: BenchCluster;
  readonly access: KubeAccess;
  /** The bundle that the image is made of. */
  readonly bundle: string;
  readonly natsServer: string;
  /** How often each thing is measured, in turn with the others. */
  readonly rounds: number;
  /** Small numbers, to see whether the bench works; its figures say little. */
  readonly quick: boolean;
  /** Where CPU profiles of the services go; undefined: they are not profiled, which costs a tenth. */
  readonly profiles: string | undefined;
  readonly progress: (line: string) => void;
}

export interface Bench {
  readonly name: string;
  readonly shape: ClusterShape;
  /** It leaves more behind than can be cleared away: the next bench gets a cluster of its own. */
  readonly spendsCluster?: boolean;
  run(stage: Stage): Promise<Report>;
}
