import type { App } from "cdk8s";
import type { Check } from "../helm/chart-files.ts";
import { choose } from "../helm/expression.ts";
import { v } from "../values.ts";
import { service } from "./service.ts";

/** Watches Jobs and their pods, and settles their messages. */
export function monitor(app: App): Check[] {
  return service(app, "monitor", { lease: "always", namespaces: v.rbac.namespaceReader }, [
    { name: "STREAM_REPLICAS", value: choose(v.nats.enabled, "1", `${v.nats.external.streamReplicas}`) },
    { name: "STORE_SIZE", value: v.nats.maxFileStore },
    { name: "SWEEP_INTERVAL", value: v.sweepInterval },
    { name: "UNKNOWN_QUEUE_AFTER", value: v.unknownQueueAfter },
  ]);
}
