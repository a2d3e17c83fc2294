import type { V1Deployment, V1EnvVar, V1TopologySpreadConstraint } from "@kubernetes/client-node";
import type { App, Chart } from "cdk8s";
import type { Check } from "../helm/chart-files.ts";
import { items } from "../helm/collections.ts";
import { argument, Expression, expressionOf, goString, optional, raw } from "../helm/expression.ts";
import { manifest, type Templated } from "../helm/templated.ts";
import {
  defaultJobNamespace,
  jobNamespaces,
  named,
  part,
  podAnnotations,
  podLabels,
  productImage,
  RESTRICTED_CONTAINER,
  RESTRICTED_POD,
  release,
  selectorLabels,
} from "../release.ts";
import { v } from "../values.ts";
import { access, accountIsNamed, accountName, type Needs } from "./access.ts";
import { configMapName } from "./config.ts";
import { disruptionBudget } from "./disruption.ts";
import { natsClientEnvironment, natsClientMounts, natsClientVariables, natsClientVolumes } from "./nats-client.ts";
import { allowIngress } from "./network.ts";
import { leaseName, type ServiceName } from "./rights.ts";
import { serviceMonitor } from "./service-monitor.ts";
import { tracingEnvironment, tracingMounts, tracingVariables, tracingVolumes } from "./tracing.ts";

export const HTTP_PORT = 8080;
export const HTTP = "http";

/** What a service wants to know besides what all of them do. */
export type Variable = { name: string; value: string | Expression<string> };

/** A service that does without the API server: it has no account and no token. */
export type PlainServiceName = "scaler";

/**
 * A service of the platform that works on Jobs and their messages: an entry point of the one image, in its own Deployment, with its own account.
 * Returns what must hold of its values.
 */
export function service(app: App, name: ServiceName, needs: Needs, variables: Variable[] = []): Check[] {
  const chart = part(app, name);
  access(chart, name, needs);
  const program: Program = {
    account: { serviceAccountName: accountName(name), automountServiceAccountToken: true },
    variables: [podName, podNamespace, ...commonVariables(name, jobVariables(name)), ...variables],
    ports: [],
    metricsService: named(name),
    isTraced: true,
  };
  return [accountIsNamed(name), ...deployment(chart, name, program)];
}

/** A service that only talks to NATS, and to those who ask it. Returns its part of the chart, and what must hold of its values. */
export function plainService(
  app: App,
  name: PlainServiceName,
  { ports, metricsService }: { ports: Port[]; metricsService: string },
): { chart: Chart; checks: Check[] } {
  const chart = part(app, name);
  const listens = ports.map(({ variable, number }) => ({ name: variable, value: String(number) }));
  const program: Program = {
    account: { automountServiceAccountToken: false },
    variables: [podName, ...commonVariables(name, listens)],
    ports,
    metricsService,
    isTraced: false,
  };
  return { chart, checks: deployment(chart, name, program) };
}

/** What a service listens on besides HTTP, and the variable that tells it so. */
export type Port = { name: string; number: number; variable: string };

type Program = {
  account: { serviceAccountName?: Expression<string>; automountServiceAccountToken: boolean };
  variables: (Templated<V1EnvVar> & { name: string })[];
  ports: Port[];
  metricsService: string;
  /** Whether it makes spans, and so has to know where they go. */
  isTraced: boolean;
};

function deployment(chart: Chart, name: ServiceName | PlainServiceName, program: Program): Check[] {
  const { account, variables, ports, isTraced } = program;
  const values = v[name];
  disruptionBudget(chart, name);
  allowIngress(chart, name, [HTTP_PORT, ...ports.map(({ number }) => number)]);
  serviceMonitor(chart, name, { name: HTTP, number: HTTP_PORT }, program.metricsService);
  const tracing = isTraced ? { env: tracingEnvironment(), mounts: tracingMounts(), volumes: tracingVolumes() } : UNTRACED;
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
        metadata: { labels: podLabels(name, values.podLabels), annotations: podAnnotations(values.podAnnotations) },
        spec: {
          ...account,
          // A Service named like one of our variables must not get into the environment.
          enableServiceLinks: false,
          imagePullSecrets: v.global.imagePullSecrets,
          priorityClassName: optional(values.priorityClassName),
          terminationGracePeriodSeconds: values.terminationGracePeriodSeconds,
          securityContext: RESTRICTED_POD,
          containers: [
            {
              name,
              image: productImage,
              imagePullPolicy: v.image.pullPolicy,
              args: [name],
              env: [...variables, ...natsClientEnvironment(), ...tracing.env, items(values.extraEnv)],
              ports: [
                { name: HTTP, containerPort: HTTP_PORT },
                ...ports.map((port) => ({ name: port.name, containerPort: port.number })),
              ],
              ...probes,
              resources: values.resources,
              securityContext: RESTRICTED_CONTAINER,
              volumeMounts: [{ name: "tmp", mountPath: "/tmp" }, ...natsClientMounts(), ...tracing.mounts],
            },
          ],
          nodeSelector: values.nodeSelector,
          tolerations: values.tolerations,
          affinity: values.affinity,
          topologySpreadConstraints: spreadConstraints(name),
          volumes: [{ name: "tmp", emptyDir: {} }, ...natsClientVolumes(), ...tracing.volumes],
        },
      },
    },
  });
  const names = variables.map((variable) => variable.name);
  return [namesAreOnce(name, [...names, ...natsClientVariables, ...(isTraced ? tracingVariables : [])])];
}

const UNTRACED = { env: [], mounts: [], volumes: [] };

/** What only the pod itself knows. */
export const fromPod = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
export const podName = fromPod("POD_NAME", "metadata.name");
export const podNamespace = fromPod("POD_NAMESPACE", "metadata.namespace");

function commonVariables(name: ServiceName | PlainServiceName, special: Variable[]): Variable[] {
  const grace = v[name].terminationGracePeriodSeconds;
  return [
    { name: "MILLRACE_INSTANCE", value: release.instance },
    ...special,
    { name: "LOG_LEVEL", value: v.logLevel },
    { name: "HTTP_SERVER_PORT", value: String(HTTP_PORT) },
    // What is left of the grace period is for the kubelet, and for ending the process.
    { name: "SHUTDOWN_TIMEOUT", value: `${raw(`sub ${grace.code} 5`)}s` },
  ];
}

const jobVariables = (name: ServiceName): Variable[] => [
  { name: "CONFIG_MAP", value: configMapName },
  { name: "LEASE_NAME", value: leaseName(name) },
  { name: "JOBS_NAMESPACE", value: defaultJobNamespace },
  { name: "JOB_NAMESPACES", value: jobNamespaces },
  { name: "ACK_WAIT", value: v.ackWait },
  { name: "HISTORY", value: v.history },
];

/** A user cannot name the release's pods in values.yaml, so the chart does it. */
function spreadConstraints(name: ServiceName | PlainServiceName): Expression<V1TopologySpreadConstraint[]> {
  const labels = Object.entries(selectorLabels(name)).map(([key, value]) => `${goString(key)} ${argument(expressionOf(value))}`);
  const constraints = v[name].topologySpreadConstraints.code;
  const code = `include "millrace.topologySpread" (dict "constraints" ${constraints} "labels" (dict ${labels.join(" ")}))`;
  return new Expression(`${code} | fromJsonArray`, "block");
}

/** Server-side apply, Helm 4's way, refuses a pod in which a variable is there twice; without it the last one would win, without a word. */
function namesAreOnce(name: ServiceName | PlainServiceName, ours: string[]): Check {
  const extra = v[name].extraEnv.code;
  const repeated = raw(`include "millrace.repeatedNames" (dict "ours" (list ${ours.map(goString).join(" ")}) "extra" ${extra})`);
  return {
    unless: `eq (${repeated.code}) ""`,
    message: `${name}.extraEnv: the chart itself sets ${repeated}, or it is there twice. Leave it out; what the chart sets has a value of its own.`,
  };
}

const probe = (path: string, pace: { periodSeconds: number; failureThreshold: number }) => ({
  httpGet: { path, port: HTTP },
  timeoutSeconds: 5,
  ...pace,
});

/** Of everything that answers over HTTP as the services do. */
export const probes = {
  startupProbe: probe("/healthz", { periodSeconds: 1, failureThreshold: 60 }),
  livenessProbe: probe("/healthz", { periodSeconds: 10, failureThreshold: 3 }),
  readinessProbe: probe("/readyz", { periodSeconds: 5, failureThreshold: 2 }),
};
