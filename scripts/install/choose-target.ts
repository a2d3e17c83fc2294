import { LocalCluster } from "../cluster/cluster.ts";
import { onPath } from "../cluster/command.ts";
import type { NodeCount } from "../cluster/node-layout.ts";
import { ContextTarget } from "./context-target.ts";
import { dockerAnswers } from "./docker-engine.ts";
import { KindTarget } from "./kind-target.ts";
import { LocalTarget } from "./local-target.ts";
import type { Target } from "./target.ts";

export interface Surroundings {
  readonly context: string | undefined;
  readonly localExists: boolean;
  readonly dockerAnswers: boolean;
  readonly kindInstalled: boolean;
}

/** A local cluster that is there stays the one: a Docker engine that was started since must not hide what was installed. */
export function chooseKind(found: Surroundings): "context" | "kind" | "local" {
  if (found.context !== undefined) return "context";
  return !found.localExists && found.dockerAnswers && found.kindInstalled ? "kind" : "local";
}

export interface TargetWishes {
  readonly cluster: string;
  readonly context?: string | undefined;
  readonly registry?: string | undefined;
  readonly nodes?: NodeCount | undefined;
}

export async function chooseTarget(wishes: TargetWishes): Promise<Target> {
  const { cluster: name, context, nodes, registry } = wishes;
  const localExists = new LocalCluster({ name, progress: () => {} }).exists();
  const kindInstalled = onPath("kind") !== undefined;
  const askDocker = context === undefined && !localExists && kindInstalled;
  const kind = chooseKind({ context, localExists, kindInstalled, dockerAnswers: askDocker && (await dockerAnswers()) });
  if (kind === "context" && context !== undefined) return new ContextTarget({ context, registry });
  return kind === "kind" ? new KindTarget({ name, nodes }) : new LocalTarget({ name, nodes });
}
