import type { V1ConfigMap } from "@kubernetes/client-node";
import type { App } from "cdk8s";
import { lines, raw } from "../helm/expression.ts";
import { manifest } from "../helm/templated.ts";
import { named, part } from "../release.ts";
import { v } from "../values.ts";

export const configMapName = named("config");

/**
 * Queues and templates. The services watch this object through the API: a change is live within a second, without a restart, hence neither
 * a mount nor a checksum annotation anywhere.
 */
export function config(app: App): void {
  const chart = part(app, "config");
  const json = `dict "queues" (${v.queues.code} | default dict) "templates" (${v.templates.code} | default dict) | toPrettyJson`;
  manifest<V1ConfigMap>(chart, "config", {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: configMapName },
    data: { "config.json": lines(raw(json)) },
  });
}
