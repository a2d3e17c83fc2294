import type { V1Deployment, V1PodSpec, V1Role } from "@kubernetes/client-node";
import { expect } from "vitest";
import { parseDurationMs } from "../../libs/contract/units.ts";
import { type FedField, hasWorkers, type Loose, OURS_ON_WORKERS, podFields, unexpanded, unlessEmpty } from "./fed-pods.ts";
import { type Document, environmentOf, ofKind } from "./rendered.ts";

/** What of a worker the services are told. */
const CONFIGURED = [
  "subject",
  "concurrency",
  "min",
  "max",
  "lagThreshold",
  "timeout",
  "retry",
  "trigger",
  "cooldown",
  "deletionCost",
];

const configOf = (worker: Loose): unknown =>
  Object.fromEntries(Object.entries(worker).filter(([key]) => CONFIGURED.includes(key)));

const WORKER_DEFAULTS = {
  ...{ concurrency: 1, min: 0, max: 10, timeout: "5m", retry: {}, trigger: "push", cooldown: "30s" },
  ...{ pullPolicy: "IfNotPresent", imagePullSecrets: [], command: [], args: [], env: {}, envFrom: [], serviceAccountName: "" },
  ...{ extraVolumes: [], extraVolumeMounts: [] },
  ...{ podLabels: {}, podAnnotations: {}, priorityClassName: "", nodeSelector: {}, tolerations: [], affinity: {} },
};
const REQUESTS = { cpu: "100m", memory: "128Mi" };
const LIMITS = { memory: "512Mi" };

const LEAVES_LOST_NODES = ["node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"].map((key) => ({
  ...{ key, operator: "Exists", effect: "NoExecute" },
  tolerationSeconds: 0,
}));

const seconds = (duration: string, more = 0): number => Math.ceil(parseDurationMs(duration) / 1000) + more;

export function workerFields(all: Document[], name: string, given: Loose, values: Loose): FedField[] {
  const own = { ...WORKER_DEFAULTS, lagThreshold: given.concurrency ?? 1, ...given };
  const { requests = REQUESTS, limits = LIMITS } = given.resources ?? {};
  const resources = { ...filledOnly("requests", requests), ...filledOnly("limits", limits) };
  const tolerations = [...LEAVES_LOST_NODES, ...own.tolerations];
  const mine = ({ metadata }: Document) => metadata.name.endsWith(`-worker-${name}`);
  const spec = ofKind<V1Deployment>(all, "Deployment").find(mine)?.spec;
  const pod = spec?.template.spec as V1PodSpec;
  const [container] = pod.containers;
  const variables = environmentOf(pod);
  const env = Object.entries<string>(own.env).map(([key, value]) => ({ name: key, value }));
  const auth = values.workerNats.auth.existingSecret === "" ? values.nats.auth : values.workerNats.auth;
  const fields: [string, unknown, unknown][] = [
    ["replicas", spec?.replicas, values.keda.enabled ? undefined : Math.max(own.min, 1)],
    ["grace period", pod.terminationGracePeriodSeconds, seconds(own.timeout, 30)],
    ["MILLRACE_GRACE", variables["MILLRACE_GRACE"], `${seconds(own.timeout, 20)}s`],
    ["MILLRACE_TIMEOUT", variables["MILLRACE_TIMEOUT"], own.timeout],
    ["MILLRACE_CONCURRENCY", variables["MILLRACE_CONCURRENCY"], String(own.concurrency)],
    ["MILLRACE_RETRY", JSON.parse(variables["MILLRACE_RETRY"] ?? ""), own.retry],
    ["MILLRACE_WORKER", variables["MILLRACE_WORKER"], name],
    ["ACK_WAIT", variables["ACK_WAIT"], values.ackWait],
    ["NATS_USER", variables["NATS_USER"], auth.user === "" ? undefined : unexpanded(auth.user)],
    ["image", container?.image, own.image],
    ["pullPolicy", container?.imagePullPolicy, own.pullPolicy],
    ["command", container?.command, unlessEmpty(own.command)],
    ["args", container?.args, unlessEmpty(own.args)],
    ["env", sorted(behind(container?.env, env)), sorted(env)],
    ["envFrom", container?.envFrom, unlessEmpty(own.envFrom)],
    ["extraVolumes", behind(pod.volumes, own.extraVolumes), own.extraVolumes],
    ["extraVolumeMounts", behind(container?.volumeMounts, own.extraVolumeMounts), own.extraVolumeMounts],
    ["account", pod.serviceAccountName, own.serviceAccountName || undefined],
    [
      "ScaledObject",
      ofKind<Loose>(all, "ScaledObject").find(mine)?.spec,
      values.keda.enabled ? scaled(name, own, values) : undefined,
    ],
  ];
  return [
    ...fields.map(([field, is, wanted]) => ({ where: `worker ${name}: ${field}`, is, wanted })),
    ...podFields(`worker ${name}`, spec?.template, values, { ...own, resources, tolerations }, OURS_ON_WORKERS),
  ];
}

/** As many as the user's, of those that come after ours. */
const behind = <T>(all: T[] | undefined, users: Loose[]): T[] => (users.length === 0 ? [] : (all?.slice(-users.length) ?? []));

const filledOnly = (key: string, value: Loose): object => (Object.keys(value).length === 0 ? {} : { [key]: value });

const sorted = (variables: Loose[]): Loose[] => variables.toSorted((a, b) => (a.name < b.name ? -1 : 1));

function scaled(name: string, own: Loose, values: Loose): unknown {
  const target = expect.stringMatching(new RegExp(`-worker-${name}$`, "u"));
  const stream = (stream: string) => ({
    type: "nats-jetstream",
    metadata: {
      natsServerMonitoringEndpoint: values.nats.monitoring.endpoint || expect.stringMatching(/-nats-headless\.home\.svc:8222$/u),
      account: values.nats.monitoring.account,
      stream,
      consumer: `worker-${name}`,
      lagThreshold: String(own.lagThreshold),
      activationLagThreshold: "0",
    },
  });
  const push = {
    type: "external-push",
    metadata: {
      scalerAddress: expect.stringMatching(/-scaler\.home:9090$/u),
      worker: name,
      subject: own.subject,
      lagThreshold: String(own.lagThreshold),
    },
  };
  return expect.objectContaining({
    scaleTargetRef: { name: target },
    minReplicaCount: own.min,
    maxReplicaCount: own.max,
    pollingInterval: values.keda.pollingInterval,
    cooldownPeriod: seconds(own.cooldown),
    triggers: own.trigger === "push" ? [push] : [stream("WORK"), stream("WORK_RETRY")],
  });
}

/** What the monitor may do to the pods of workers. */
export function workerRights(all: Document[], values: Loose): FedField {
  const isOurs = ({ metadata }: Document) => /-monitor-(?:busy-)?workers$/u.test(metadata.name);
  const marked = Object.values<Loose>(values.workers).some(({ deletionCost }) => deletionCost);
  const watched = hasWorkers(values) ? ["get", "list", "watch"] : [];
  return {
    where: "rights to the pods of workers",
    is: ofKind<V1Role>(all, "Role")
      .filter(isOurs)
      .flatMap(({ rules }) => rules?.flatMap(({ verbs }) => verbs) ?? [])
      .toSorted(),
    wanted: values.rbac.create ? [...watched, ...(marked ? ["patch"] : [])].toSorted() : [],
  };
}

export const isWorker = ({ metadata }: Document): boolean => metadata.labels?.["app.kubernetes.io/component"] === "worker";

export function wantedConfig({ queues, templates, workers }: Loose): unknown {
  const told = Object.entries<Loose>(workers).map(([name, worker]) => [name, configOf(worker)]);
  return { queues, templates, ...(told.length === 0 ? {} : { workers: Object.fromEntries(told) }) };
}
