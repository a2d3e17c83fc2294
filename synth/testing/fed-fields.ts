import type {
  V1ClusterRole,
  V1ConfigMap,
  V1Deployment,
  V1NetworkPolicy,
  V1Pod,
  V1PodDisruptionBudget,
  V1PodSpec,
  V1StatefulSet,
} from "@kubernetes/client-node";
import { parse } from "yaml";
import type { Json } from "../helm/yaml.ts";
import {
  at,
  type FedField,
  hasScaler,
  type Loose,
  OURS,
  OURS_ON_WORKERS,
  of,
  podFields,
  together,
  unexpanded,
  unlessEmpty,
  usersOnly,
} from "./fed-pods.ts";
import { isWorker, wantedConfig, workerFields, workerRights } from "./fed-workers.ts";
import { type Document, environmentOf, ofKind } from "./rendered.ts";

const isMap = (value: Json | undefined): value is { [key: string]: Json } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** As Helm lays a user's values over the defaults: map by map; everything else is replaced. */
export function laidOver(defaults: Json, given: Json | undefined): Json {
  if (given === undefined) return defaults;
  if (!isMap(defaults) || !isMap(given)) return given;
  const keys = new Set([...Object.keys(defaults), ...Object.keys(given)]);
  return Object.fromEntries(
    [...keys].map((key) => [key, laidOver(at(defaults, key) ?? null, at(given, key) ?? at(defaults, key))]),
  );
}

function image(values: Loose, own: Loose, tag: string): string {
  const registry = values.global.imageRegistry || own.registry;
  return `${registry === "" ? "" : `${registry}/`}${own.repository}${own.digest === "" ? `:${tag}` : `@${own.digest}`}`;
}

function budget(all: Document[], component: string, values: Loose): FedField {
  const found = of<V1PodDisruptionBudget>(all, "PodDisruptionBudget", component);
  const needed = { nats: values.nats.enabled, scaler: hasScaler(values) }[component] ?? true;
  const exists = values[component].pdb.enabled && needed;
  return {
    where: `${component}: pdb`,
    is: found?.spec?.maxUnavailable,
    wanted: exists ? values[component].pdb.maxUnavailable : undefined,
  };
}

function serviceFields(all: Document[], name: "dispatcher" | "monitor" | "scaler", values: Loose): FedField[] {
  const own = values[name];
  const spec = of<V1Deployment>(all, "Deployment", name)?.spec;
  const pod = spec?.template.spec as V1PodSpec;
  const container = pod.containers[0];
  const variables = environmentOf(pod);
  const extra = own.extraEnv.length;
  const { auth } = values.nats;
  const fields: [string, unknown, unknown][] = [
    ["replicas", spec?.replicas, own.replicas],
    ["grace period", pod.terminationGracePeriodSeconds, own.terminationGracePeriodSeconds],
    ["image", container?.image, image(values, values.image, values.image.tag || "0.1.0")],
    ["pullPolicy", container?.imagePullPolicy, values.image.pullPolicy],
    ["extraEnv", extra === 0 ? [] : container?.env?.slice(-extra), own.extraEnv],
    ["NATS_USER", variables["NATS_USER"], auth.user === "" ? undefined : unexpanded(auth.user)],
    ["SHUTDOWN_TIMEOUT", variables["SHUTDOWN_TIMEOUT"], `${own.terminationGracePeriodSeconds - 5}s`],
    [
      "constraints",
      pod.topologySpreadConstraints?.map(withoutSelector),
      unlessEmpty(own.topologySpreadConstraints.map(withoutSelector)),
    ],
    ["ServiceMonitor", of<Loose>(all, "ServiceMonitor", name)?.spec.endpoints, endpoints(values)],
    ...(name === "scaler" ? [] : jobFields(all, name, values, pod)),
  ];
  return [
    ...fields.map(([field, is, wanted]) => ({ where: `${name}: ${field}`, is, wanted })),
    ...podFields(name, spec?.template, values, own),
    budget(all, name, values),
  ];
}

function jobFields(all: Document[], name: "dispatcher" | "monitor", values: Loose, pod: V1PodSpec): [string, unknown, unknown][] {
  const own = values[name];
  const variables = environmentOf(pod);
  const fields: [string, unknown, unknown][] = [
    ["ACK_WAIT", variables["ACK_WAIT"], values.ackWait],
    ["HISTORY", variables["HISTORY"], values.history],
  ];
  if (own.serviceAccount.name !== "") fields.push(["account", pod.serviceAccountName, own.serviceAccount.name]);
  if (name === "monitor") return [...fields, ["STORE_SIZE", variables["STORE_SIZE"], values.nats.maxFileStore]];
  return [
    ...fields,
    ["LEADER_ELECTION", variables["LEADER_ELECTION"], String(own.leaderElection)],
    ["Lease", ofKind(all, "Role").some(isLeaseRole), own.leaderElection && values.rbac.create],
  ];
}

function endpoints({ metrics }: Loose): unknown {
  const { enabled, interval, scrapeTimeout, relabelings, metricRelabelings } = metrics.serviceMonitor;
  if (!enabled) return undefined;
  return [
    {
      port: "http",
      path: "/metrics",
      honorLabels: true,
      ...(interval === "" ? {} : { interval }),
      ...(scrapeTimeout === "" ? {} : { scrapeTimeout }),
      ...(relabelings.length === 0 ? {} : { relabelings }),
      ...(metricRelabelings.length === 0 ? {} : { metricRelabelings }),
    },
  ];
}

/** The one right that is not a namespace's. */
function namespaceReader(all: Document[], values: Loose): FedField {
  const { namespace, extraNamespaces } = values.jobs;
  return {
    where: "namespaces that the monitor may read",
    is: ofKind<V1ClusterRole>(all, "ClusterRole").map(({ rules }) => rules?.map(({ resourceNames }) => resourceNames)),
    wanted: values.rbac.create && values.rbac.namespaceReader ? [[[...new Set([namespace || "home", ...extraNamespaces])]]] : [],
  };
}

const isLeaseRole = ({ metadata }: Document): boolean => metadata.name.endsWith("-dispatcher-lease");

const withoutSelector = ({ labelSelector: _selector, ...rest }: Loose): unknown => rest;

function natsFields(all: Document[], values: Loose): FedField[] {
  const own = values.nats;
  const spec = of<V1StatefulSet>(all, "StatefulSet", "nats")?.spec;
  if (!own.enabled) return [{ where: "nats", is: spec, wanted: undefined }];
  const claim = spec?.volumeClaimTemplates?.[0]?.spec;
  const config = of<V1ConfigMap>(all, "ConfigMap", "nats")?.data?.["nats.conf"] ?? "";
  const from = of<V1NetworkPolicy>(all, "NetworkPolicy", "nats")?.spec?.ingress?.[0]?._from;
  const raw = of<{ spec: { ingress: { from: unknown[] }[] } }>(all, "NetworkPolicy", "nats")?.spec.ingress[0]?.from ?? from;
  return [
    { where: "nats: image", is: spec?.template.spec?.containers[0]?.image, wanted: image(values, own.image, own.image.tag) },
    { where: "nats: size", is: claim?.resources?.requests?.["storage"], wanted: own.storage.size },
    { where: "nats: class", is: claim?.storageClassName, wanted: own.storage.storageClassName || undefined },
    { where: "nats: extraConfig", is: config.trimEnd().endsWith(own.extraConfig.trimEnd()), wanted: true },
    { where: "nats: store", is: config.includes(`max_file_store: ${own.maxFileStore}\n`), wanted: true },
    { where: "nats: peers", is: raw?.slice(1), wanted: values.networkPolicy.enabled ? values.networkPolicy.natsFrom : undefined },
    ...podFields("nats", spec?.template, values, own),
    budget(all, "nats", values),
  ];
}

/** Every field of the rendered chart that values feed, against the values. */
export function fedFields(all: Document[], given: Json, defaults: Json): FedField[] {
  const values: Loose = laidOver(defaults, given);
  // As YAML: after thousands of values V8 (13.6) takes some keys for others that it has seen (`libs/contract/json.ts`).
  const config = parse(of<V1ConfigMap>(all, "ConfigMap", "config")?.data?.["config.json"] ?? "");
  const args = ofKind<V1Pod>(all, "Pod")[0]?.spec?.containers[0]?.args?.slice(2, 4);
  const { enabled, subject, body } = values.test;
  const own = all.filter(({ metadata }) => metadata.labels?.["app.kubernetes.io/component"] !== undefined);
  return [
    { where: "config.json", is: config, wanted: wantedConfig(values) },
    { where: "test", is: args, wanted: enabled ? [unexpanded(subject), unexpanded(body)] : undefined },
    { where: "extraObjects", is: all.length - own.length, wanted: values.extraObjects.length },
    ...own.map(({ kind, metadata, ...rest }) => ({
      where: `${kind} ${metadata.name}: labels`,
      is: usersOnly(metadata.labels, isWorker({ kind, metadata, ...rest }) ? OURS_ON_WORKERS : OURS),
      wanted: usersOnly(
        kind === "ServiceMonitor" ? together(values.commonLabels, values.metrics.serviceMonitor.labels) : values.commonLabels,
        isWorker({ kind, metadata, ...rest }) ? OURS_ON_WORKERS : OURS,
      ),
    })),
    namespaceReader(all, values),
    ...serviceFields(all, "dispatcher", values),
    ...serviceFields(all, "monitor", values),
    ...(hasScaler(values) ? serviceFields(all, "scaler", values) : []),
    { where: "scaler exists", is: of(all, "Deployment", "scaler") !== undefined, wanted: hasScaler(values) },
    ...Object.entries(values.workers).flatMap(([name, worker]) => workerFields(all, name, worker, values)),
    { where: "workers", is: ofKind(all, "Deployment").filter(isWorker).length, wanted: Object.keys(values.workers).length },
    workerRights(all, values),
    ...natsFields(all, values),
  ];
}
