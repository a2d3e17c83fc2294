import type { App } from "cdk8s";
import type { Check } from "../helm/chart-files.ts";
import { choose } from "../helm/expression.ts";
import { v } from "../values.ts";
import { service } from "./service.ts";

/** Watches Jobs and their pods, stops them (patch), takes the end of their logs, and removes what is settled (delete). */
export function monitor(app: App): Check[] {
  const jobs = [
    { apiGroups: ["batch"], resources: ["jobs"], verbs: ["get", "list", "watch", "patch", "delete"] },
    { apiGroups: [""], resources: ["pods"], verbs: ["get", "list", "watch"] },
    { apiGroups: [""], resources: ["pods/log"], verbs: ["get"] },
  ];
  return service(app, "monitor", { jobs, lease: "always" }, [
    { name: "STREAM_REPLICAS", value: choose(v.nats.enabled, "1", `${v.nats.external.streamReplicas}`) },
    { name: "STORE_SIZE", value: v.nats.maxFileStore },
    { name: "SWEEP_INTERVAL", value: v.sweepInterval },
    { name: "UNKNOWN_QUEUE_AFTER", value: v.unknownQueueAfter },
  ]);
}
