import type { App } from "cdk8s";
import { service } from "./service.ts";

/** Watches Jobs and their pods, stops them (patch), takes the end of their logs, and removes what is settled (delete). */
export function monitor(app: App): void {
  service(app, "monitor", {
    jobs: [
      { apiGroups: ["batch"], resources: ["jobs"], verbs: ["get", "list", "watch", "patch", "delete"] },
      { apiGroups: [""], resources: ["pods"], verbs: ["get", "list", "watch"] },
      { apiGroups: [""], resources: ["pods/log"], verbs: ["get"] },
    ],
  });
}
