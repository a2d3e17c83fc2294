import type { App } from "cdk8s";
import type { Check } from "../helm/chart-files.ts";
import { service } from "./service.ts";

/** Makes Jobs of messages. It looks only at Jobs that it tried to create, so it needs neither list nor watch. */
export function dispatcher(app: App): Check[] {
  return service(app, "dispatcher", { jobs: [{ apiGroups: ["batch"], resources: ["jobs"], verbs: ["create", "get"] }] });
}
