import type { App } from "cdk8s";
import type { Check } from "../helm/chart-files.ts";
import { v } from "../values.ts";
import { service } from "./service.ts";

/** Makes Jobs of messages. It looks only at Jobs that it tried to create, so it needs neither list nor watch. */
export function dispatcher(app: App): Check[] {
  const jobs = [{ apiGroups: ["batch"], resources: ["jobs"], verbs: ["create", "get"] }];
  const { leaderElection } = v.dispatcher;
  return service(app, "dispatcher", { jobs, lease: leaderElection }, [{ name: "LEADER_ELECTION", value: `${leaderElection}` }]);
}
