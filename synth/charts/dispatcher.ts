import type { App } from "cdk8s";
import type { Check } from "../helm/chart-files.ts";
import { v } from "../values.ts";
import { service } from "./service.ts";

/** Makes Jobs of messages. */
export function dispatcher(app: App): Check[] {
  const { leaderElection } = v.dispatcher;
  const variables = [{ name: "LEADER_ELECTION", value: `${leaderElection}` }];
  return service(app, "dispatcher", { lease: leaderElection, namespaces: "never" }, variables);
}
