import type { V1Deployment, V1EnvVar } from "@kubernetes/client-node";
import type { App } from "cdk8s";
import { orElse } from "../helm/expression.ts";
import { manifest, type Templated } from "../helm/templated.ts";
import {
  appVersion,
  defaultJobNamespace,
  imageOf,
  jobNamespaces,
  named,
  part,
  podLabels,
  RESTRICTED_CONTAINER,
  RESTRICTED_POD,
  release,
  selectorLabels,
} from "../release.ts";
import { v } from "../values.ts";
import { access, type Rights } from "./access.ts";
import { configMapName } from "./config.ts";
import { natsUrl } from "./nats.ts";

const HTTP_PORT = 8080;

type ServiceName = "dispatcher" | "monitor";

/** A service of the platform: an entry point of the one image, in its own Deployment, with its own account. */
export function service(app: App, name: ServiceName, rights: Rights, environment: Templated<V1EnvVar>[] = []): void {
  const chart = part(app, name);
  const values = v[name];
  access(chart, name, rights);
  manifest<V1Deployment>(chart, "deployment", {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: named(name) },
    spec: {
      replicas: values.replicas,
      // Two generations may work side by side: every write of theirs is a compare-and-swap. So the new one is ready before the old one goes.
      strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      selector: { matchLabels: selectorLabels(name) },
      template: {
        metadata: { labels: podLabels(name), annotations: values.podAnnotations },
        spec: {
          serviceAccountName: named(name),
          automountServiceAccountToken: true,
          // A Service named like one of our variables must not get into the environment.
          enableServiceLinks: false,
          imagePullSecrets: v.global.imagePullSecrets,
          terminationGracePeriodSeconds: values.terminationGracePeriodSeconds,
          securityContext: RESTRICTED_POD,
          containers: [
            {
              name,
              image: imageOf({ ...v.image, tag: orElse(v.image.tag, appVersion) }),
              imagePullPolicy: v.image.pullPolicy,
              args: [name],
              env: [...commonEnvironment(), ...environment],
              ports: [{ name: "http", containerPort: HTTP_PORT }],
              startupProbe: probe("/healthz", { periodSeconds: 1, failureThreshold: 60 }),
              livenessProbe: probe("/healthz", { periodSeconds: 10, failureThreshold: 3 }),
              readinessProbe: probe("/readyz", { periodSeconds: 5, failureThreshold: 2 }),
              resources: values.resources,
              securityContext: RESTRICTED_CONTAINER,
              volumeMounts: [{ name: "tmp", mountPath: "/tmp" }],
            },
          ],
          nodeSelector: values.nodeSelector,
          tolerations: values.tolerations,
          affinity: values.affinity,
          volumes: [{ name: "tmp", emptyDir: {} }],
        },
      },
    },
  });
}

function commonEnvironment(): Templated<V1EnvVar>[] {
  return [
    { name: "MILLRACE_INSTANCE", value: release.instance },
    { name: "POD_NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
    { name: "POD_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
    { name: "CONFIG_MAP", value: configMapName },
    { name: "JOBS_NAMESPACE", value: defaultJobNamespace },
    { name: "JOB_NAMESPACES", value: jobNamespaces },
    { name: "NATS_URL", value: natsUrl(`${release.namespace}`) },
    { name: "ACK_WAIT", value: v.ackWait },
    { name: "LOG_LEVEL", value: v.logLevel },
    { name: "HTTP_SERVER_PORT", value: String(HTTP_PORT) },
  ];
}

const probe = (path: string, pace: { periodSeconds: number; failureThreshold: number }) => ({
  httpGet: { path, port: "http" },
  timeoutSeconds: 5,
  ...pace,
});
