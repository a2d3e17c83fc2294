import type { V1Container, V1EnvVar, V1Job, V1ResourceRequirements, V1Toleration } from "@kubernetes/client-node";
import { ANNOTATION, isLabelValue, jobName, LABEL, MANAGED_BY } from "../contract/names.ts";
import type { QueueConfig } from "../contract/queue-config.ts";
import { literal } from "../contract/template.ts";
import { parseQuantity } from "../contract/units.ts";
import type { RenderedJob } from "./rendered-job.ts";

/** Which attempt of which message a Job is. */
export interface AttemptIdentity {
  readonly instance: string;
  readonly queue: string;
  readonly type: string;
  readonly id: string;
  readonly hash: string;
  readonly attempt: number;
  readonly life: number;
  readonly messageHash: string;
  /** The reply subject of the delivery: with it any connection can renew the lease or acknowledge (rule L1). */
  readonly ack: string;
  /** Of the job: what it belongs to. */
  readonly traceparent: string | undefined;
  /** For its pod: the parent of whatever runs there. */
  readonly podTrace?: { readonly traceparent: string; readonly tracestate: string | undefined } | undefined;
  /** By container: what a retry gets after one that ran out of memory, when its template gives less. */
  readonly memory?: Readonly<Record<string, string>>;
}

/** The user of a pod that says nothing: not root, and not the id of any user of a usual image. */
const UNPRIVILEGED_USER = 65532;

/**
 * J4: without these, the `DefaultTolerationSeconds` admission would let the pod stay on a lost node for five minutes; a toleration of zero
 * seconds has the taint manager mark it at once.
 */
const LEAVES_LOST_NODES: readonly V1Toleration[] = ["node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"].map(
  (key) => ({
    key,
    operator: "Exists",
    effect: "NoExecute",
    tolerationSeconds: 0,
  }),
);

/**
 * One Job for one attempt (design §4.2): `backoffLimit: 0` and `restartPolicy: Never`, so that Kubernetes never starts a second attempt on
 * its own; no ttl (the settle step sets it, so that evidence outlives the verdict) and no finalizer (nothing hangs a namespace).
 */
export function jobManifest(identity: AttemptIdentity, rendered: RenderedJob, queue: QueueConfig): V1Job {
  const labels = {
    [LABEL.managedBy]: MANAGED_BY,
    [LABEL.instance]: identity.instance,
    [LABEL.queue]: identity.queue,
    [LABEL.job]: identity.hash,
    [LABEL.attempt]: String(identity.attempt),
    ...(rendered.service !== undefined && rendered.service !== "" && isLabelValue(rendered.service)
      ? { [LABEL.app]: rendered.service }
      : {}),
  };
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: {
      name: jobName(rendered.prefix, identity.hash, identity.attempt),
      namespace: rendered.namespace,
      labels,
      annotations: {
        [ANNOTATION.id]: identity.id,
        [ANNOTATION.type]: identity.type,
        [ANNOTATION.messageHash]: identity.messageHash,
        [ANNOTATION.ack]: identity.ack,
        [ANNOTATION.life]: String(identity.life),
        ...(rendered.keepSeconds === undefined ? {} : { [ANNOTATION.keepSeconds]: String(rendered.keepSeconds) }),
        ...(rendered.attempts === undefined ? {} : { [ANNOTATION.attempts]: String(rendered.attempts) }),
        ...(identity.traceparent === undefined ? {} : { [ANNOTATION.traceparent]: identity.traceparent }),
      },
    },
    spec: {
      backoffLimit: 0,
      activeDeadlineSeconds: rendered.deadlineSeconds,
      template: { metadata: { labels }, spec: podSpec(identity, rendered, queue) },
    },
  };
}

function podSpec(identity: AttemptIdentity, rendered: RenderedJob, queue: QueueConfig) {
  const given = rendered.podSpec;
  const restricted = queue.policy.podSecurity === "restricted";
  const env = platformEnv(identity, rendered);
  const container = (spec: V1Container): V1Container => ({
    imagePullPolicy: "IfNotPresent",
    ...spec,
    ...withMemory(spec.resources, identity.memory?.[spec.name]),
    env: [...(spec.env ?? []).filter(({ name }) => !env.some((ours) => ours.name === name)), ...env],
    ...(restricted
      ? { securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] }, ...spec.securityContext } }
      : {}),
  });
  return {
    enableServiceLinks: false,
    automountServiceAccountToken: false,
    ...given,
    ...withTolerations(given.tolerations ?? [], queue.nodeLoss),
    restartPolicy: "Never",
    // The Job's deadline dies with the Job object; `kubectl delete --cascade=orphan` leaves the pod to this one (rule J6).
    activeDeadlineSeconds: rendered.deadlineSeconds,
    securityContext: {
      seccompProfile: { type: "RuntimeDefault" },
      ...(restricted ? { runAsNonRoot: true, runAsUser: UNPRIVILEGED_USER } : {}),
      ...given.securityContext,
    },
    ...(queue.imagePullSecrets.length === 0 || given.imagePullSecrets !== undefined
      ? {}
      : { imagePullSecrets: queue.imagePullSecrets.map((name) => ({ name })) }),
    containers: given.containers.map(container),
    ...(given.initContainers === undefined ? {} : { initContainers: given.initContainers.map(container) }),
  };
}

/** What the template itself says of a lost node stays. */
function withTolerations(given: readonly V1Toleration[], nodeLoss: QueueConfig["nodeLoss"]): { tolerations?: V1Toleration[] } {
  if (nodeLoss === "safe") return {};
  return { tolerations: [...given, ...LEAVES_LOST_NODES.filter(({ key }) => !given.some((each) => each.key === key))] };
}

/** Never less than the template gives, which may have been raised meanwhile; a container without a limit has all there is. */
function withMemory(
  resources: V1ResourceRequirements | undefined,
  memory: string | undefined,
): { resources?: V1ResourceRequirements } {
  const limit = resources?.limits?.["memory"];
  if (limit === undefined || memory === undefined || bytes(memory) <= bytes(limit)) return {};
  const request = resources?.requests?.["memory"];
  // A request that is not given follows the limit on its own: the API server defaults it to that.
  const requests =
    request !== undefined && bytes(request) === bytes(limit) ? { ...resources?.requests, memory } : resources?.requests;
  return {
    resources: { ...resources, limits: { ...resources?.limits, memory }, ...(requests === undefined ? {} : { requests }) },
  };
}

function bytes(quantity: string): number {
  return parseQuantity(String(quantity)) ?? 0;
}

/** Every value is from outside or could be: `literal` keeps the kubelet from expanding it. */
function platformEnv(identity: AttemptIdentity, rendered: RenderedJob): V1EnvVar[] {
  return [
    { name: "MILLRACE_JOB_ID", value: literal(identity.id) },
    { name: "MILLRACE_ATTEMPT", value: String(identity.attempt) },
    { name: "MILLRACE_QUEUE", value: identity.queue },
    { name: "MILLRACE_PARAMS", value: literal(JSON.stringify(rendered.params)) },
    ...traceEnv(identity.podTrace),
  ];
}

function traceEnv(trace: AttemptIdentity["podTrace"]): V1EnvVar[] {
  if (trace === undefined) return [];
  const { traceparent, tracestate } = trace;
  return [
    { name: "TRACEPARENT", value: traceparent },
    ...(tracestate === undefined ? [] : [{ name: "TRACESTATE", value: literal(tracestate) }]),
  ];
}
