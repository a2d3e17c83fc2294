import type { App } from "cdk8s";
import type { Check } from "../helm/chart-files.ts";
import { choose } from "../helm/expression.ts";
import { v } from "../values.ts";
import { BUSY_RULES, WORKER_RULES } from "./rights.ts";
import { service } from "./service.ts";
import { hasWorkers, marksBusyPods } from "./worker-values.ts";

/** Watches Jobs and their pods, and settles their messages. */
export function monitor(app: App): Check[] {
  const more = [
    { name: "workers", wanted: hasWorkers, rules: WORKER_RULES },
    { name: "busy-workers", wanted: marksBusyPods, rules: BUSY_RULES },
  ];
  return service(app, "monitor", { lease: "always", namespaces: v.rbac.namespaceReader, more }, [
    { name: "STREAM_REPLICAS", value: choose(v.nats.enabled, "1", `${v.nats.external.streamReplicas}`) },
    { name: "STORE_SIZE", value: v.nats.maxFileStore },
    { name: "SWEEP_INTERVAL", value: v.sweepInterval },
    { name: "UNKNOWN_QUEUE_AFTER", value: v.unknownQueueAfter },
  ]);
}
