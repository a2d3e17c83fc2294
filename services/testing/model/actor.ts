import type { LiveConfig } from "../../../libs/kube/dispatch-config-source.ts";
import type { Broker } from "../../../libs/streams/broker.ts";
import type { KeptLogs } from "../../../libs/streams/dead-letters.ts";
import type { MemoryCluster } from "./memory-cluster.ts";
import type { Stage } from "./stage.ts";

/** What a process has: its ports, on which the stage lets it go on, and its clock. */
export interface ActorOptions {
  readonly name: string;
  readonly stage: Stage;
  readonly broker: Broker;
  readonly cluster: MemoryCluster;
  readonly handBack: (replySubject: string, delayMs: number) => void;
  readonly config: LiveConfig;
  readonly ackWaitMs: number;
  /** Its own wall clock, which may be wrong. */
  readonly nowMs: () => number;
}

export const NO_LOGS: KeptLogs = { get: () => Promise.resolve(undefined) };
