import type { V1ConfigMap, V1Service, V1StatefulSet } from "@kubernetes/client-node";
import type { App, Chart } from "cdk8s";
import type { Check } from "../helm/chart-files.ts";
import { items } from "../helm/collections.ts";
import { when } from "../helm/documents.ts";
import { type Expression, filled, include, lines, optional, raw, textWhen } from "../helm/expression.ts";
import { manifest } from "../helm/templated.ts";
import {
  imageOf,
  named,
  part,
  podAnnotations,
  podLabels,
  RESTRICTED_CONTAINER,
  RESTRICTED_POD,
  release,
  releaseLabels,
  selectorLabels,
} from "../release.ts";
import { v } from "../values.ts";
import { disruptionBudget } from "./disruption.ts";
import { NATS_CLIENT_PORT } from "./nats-client.ts";
import { allowIngress } from "./network.ts";

const MONITOR_PORT = 8222;
const CONFIG = "nats.conf";

/** Where the release's own server tells about its streams: of a pod, not of a Service that has several behind it. */
export const natsMonitoring = `${named("nats-headless")}.${release.namespace}.svc:${MONITOR_PORT}`;

/**
 * The body of the named template `millrace.natsConfig`: the ConfigMap and its checksum need the same text.
 * `sync_interval: always` because an acknowledged message must survive the loss of the node. A message of 1 MiB plus headers fits 2 MiB.
 */
export const natsConfig = `server_name: $POD_NAME
port: ${NATS_CLIENT_PORT}
http: ${MONITOR_PORT}
max_payload: 2MiB
jetstream {
  store_dir: /data
  max_file_store: ${v.nats.maxFileStore}
  max_memory_store: ${v.nats.maxMemoryStore}
  sync_interval: always
}${textWhen(filled(v.nats.extraConfig), `\n\n${raw(`${v.nats.extraConfig.code} | trimSuffix "\\n"`)}`)}`;

const bytes = (size: Expression<string>): string => `(include "millrace.bytes" ${size.code} | int64)`;

export const storeFitsVolume: Check = {
  unless: `or (not ${v.nats.enabled.code}) (lt ${bytes(v.nats.maxFileStore)} ${bytes(v.nats.storage.size)})`,
  message: `nats.maxFileStore (${v.nats.maxFileStore}) must be less than nats.storage.size (${v.nats.storage.size}): JetStream would fill its volume and stop. Lower the one or raise the other.`,
};

export function nats(app: App): void {
  const chart = part(app, "nats");
  when(chart, v.nats.enabled);
  configMap(chart);
  services(chart);
  statefulSet(chart);
  disruptionBudget(chart, "nats");
  const peers = [{ podSelector: { matchLabels: releaseLabels } }, items(v.networkPolicy.natsFrom)];
  allowIngress(chart, "nats", [NATS_CLIENT_PORT, MONITOR_PORT], peers);
}

function configMap(chart: Chart): void {
  manifest<V1ConfigMap>(chart, "config", {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: named("nats") },
    data: { [CONFIG]: lines(include("millrace.natsConfig")) },
  });
}

function services(chart: Chart): void {
  const client = { name: "nats", port: NATS_CLIENT_PORT, targetPort: "nats" };
  manifest<V1Service>(chart, "service", {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: named("nats") },
    spec: { type: "ClusterIP", selector: selectorLabels("nats"), ports: [client] },
  });
  manifest<V1Service>(chart, "headless", {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: named("nats-headless") },
    spec: {
      clusterIP: "None",
      // The monitoring port is most wanted when the server is not ready.
      publishNotReadyAddresses: true,
      selector: selectorLabels("nats"),
      ports: [client, { name: "monitor", port: MONITOR_PORT, targetPort: "monitor" }],
    },
  });
}

function statefulSet(chart: Chart): void {
  manifest<V1StatefulSet>(chart, "server", {
    apiVersion: "apps/v1",
    kind: "StatefulSet",
    metadata: { name: named("nats") },
    spec: {
      replicas: 1,
      serviceName: named("nats-headless"),
      selector: { matchLabels: selectorLabels("nats") },
      template: {
        metadata: {
          labels: podLabels("nats", v.nats.podLabels),
          annotations: {
            // The server reads its configuration when it starts.
            "checksum/config": `${raw('include "millrace.natsConfig" $ | sha256sum')}`,
            ...podAnnotations(v.nats.podAnnotations),
          },
        },
        spec: {
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          imagePullSecrets: v.global.imagePullSecrets,
          priorityClassName: optional(v.nats.priorityClassName),
          securityContext: RESTRICTED_POD,
          containers: [
            {
              name: "nats",
              image: imageOf(v.nats.image),
              imagePullPolicy: v.nats.image.pullPolicy,
              // Only arguments: the official images differ in where they keep the binary, and all have it as entrypoint.
              args: ["-c", `/etc/nats/${CONFIG}`],
              env: [{ name: "POD_NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } }],
              ports: [
                { name: "nats", containerPort: NATS_CLIENT_PORT },
                { name: "monitor", containerPort: MONITOR_PORT },
              ],
              // Reading a large store back takes minutes; only the startup probe may wait that long.
              startupProbe: probe("/healthz", { periodSeconds: 2, failureThreshold: 300 }),
              // Not only whether JetStream is on: a stream that once met a full disk refuses all writes until the server starts anew.
              livenessProbe: probe("/healthz", { periodSeconds: 10, failureThreshold: 3 }),
              readinessProbe: probe("/healthz", { periodSeconds: 5, failureThreshold: 3 }),
              resources: v.nats.resources,
              securityContext: RESTRICTED_CONTAINER,
              volumeMounts: [
                { name: "config", mountPath: "/etc/nats", readOnly: true },
                { name: "data", mountPath: "/data" },
                items(v.nats.extraVolumeMounts),
              ],
            },
          ],
          nodeSelector: v.nats.nodeSelector,
          tolerations: v.nats.tolerations,
          affinity: v.nats.affinity,
          volumes: [{ name: "config", configMap: { name: named("nats") } }, items(v.nats.extraVolumes)],
        },
      },
      volumeClaimTemplates: [
        {
          // Kubernetes refuses every later change here, so no labels that a user may change.
          metadata: { name: "data", labels: selectorLabels("nats") },
          spec: {
            accessModes: ["ReadWriteOnce"],
            storageClassName: optional(v.nats.storage.storageClassName),
            resources: { requests: { storage: v.nats.storage.size } },
          },
        },
      ],
    },
  });
}

const probe = (path: string, pace: { periodSeconds: number; failureThreshold: number }) => ({
  httpGet: { path, port: "monitor" },
  timeoutSeconds: 5,
  ...pace,
});
