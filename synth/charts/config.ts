import type { V1ConfigMap } from "@kubernetes/client-node";
import type { App } from "cdk8s";
import { include, lines } from "../helm/expression.ts";
import { manifest } from "../helm/templated.ts";
import { named, part } from "../release.ts";

export const configMapName = named("config");

/**
 * Queues, templates and workers. The services watch this object through the API: a change is live within a second, without a restart, hence neither
 * a mount nor a checksum annotation anywhere.
 */
export function config(app: App): void {
  const chart = part(app, "config");
  manifest<V1ConfigMap>(chart, "config", {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: configMapName },
    data: { "config.json": lines(include("millrace.config")) },
  });
}
