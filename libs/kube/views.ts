import type { V1Container, V1ContainerStatus, V1Job, V1JobStatus, V1Pod } from "@kubernetes/client-node";
import { ANNOTATION, LABEL } from "../contract/names.ts";
import type { ContainerView, JobView, PodView } from "../contract/observation.ts";
import { SharedValues } from "./shared-values.ts";

const shared = new SharedValues();

/**
 * On the wire times are RFC 3339 text; the generated types call them Date, which they only are after the generated client parsed them.
 * An unset `metav1.Time` comes as null: the kubelet writes such times for a container whose end it did not see (`ContainerStatusUnknown`).
 */
export function time(value: Date | string | null | undefined): string | undefined {
  const text = value instanceof Date ? value.toISOString() : value;
  return text === null || text === undefined || text.startsWith(EPOCH) ? undefined : shared.text(text);
}

/** containerd's unset time: what a container that was made but never started says of its start (`StartError`). */
const EPOCH = "1970-01-01T00:00:00";

function optional<Key extends string, Value>(key: Key, value: Value | undefined): { [K in Key]?: Value } {
  return (value === undefined ? {} : { [key]: value }) as { [K in Key]?: Value };
}

export function jobView(job: V1Job): JobView {
  const conditions = job.status?.conditions ?? [];
  const complete = conditions.find(({ type, status }) => type === "Complete" && status === "True");
  const failed = conditions.find(({ type, status }) => type === "Failed" && status === "True");
  const failureTarget = conditions.find(({ type, status }) => type === "FailureTarget" && status === "True");
  return {
    namespace: shared.text(job.metadata?.namespace ?? ""),
    name: job.metadata?.name ?? "",
    uid: job.metadata?.uid ?? "",
    labels: sharedLabels(job.metadata?.labels ?? {}),
    annotations: job.metadata?.annotations ?? {},
    createdAt: time(job.metadata?.creationTimestamp) ?? "",
    deleting: job.metadata?.deletionTimestamp !== undefined,
    suspended: job.spec?.suspend === true,
    memoryLimits: memoryLimits(job),
    ...optional("podCount", podCount(job.status)),
    ...optional("stop", job.metadata?.annotations?.[ANNOTATION.stop]),
    ...(complete === undefined ? {} : { completedAt: time(job.status?.completionTime ?? complete.lastTransitionTime) ?? "" }),
    ...(failed === undefined
      ? {}
      : { failed: { at: time(failed.lastTransitionTime) ?? "", reason: failed.reason ?? "", message: failed.message ?? "" } }),
    ...(failureTarget === undefined
      ? {}
      : { failureTarget: { at: time(failureTarget.lastTransitionTime) ?? "", reason: failureTarget.reason ?? "" } }),
  };
}

/** The controller writes the start time with the outcome of its first attempt to make a pod. */
function podCount(status: V1JobStatus | undefined): number | undefined {
  if (status?.startTime === undefined) return undefined;
  const { active = 0, succeeded = 0, failed = 0, terminating = 0, uncountedTerminatedPods: ended } = status;
  return active + succeeded + failed + terminating + (ended?.succeeded?.length ?? 0) + (ended?.failed?.length ?? 0);
}

/** Every label but the job's own hash is that of many Jobs. In place: a copy would be larger than what the parser made. */
function sharedLabels(labels: Record<string, string>): Readonly<Record<string, string>> {
  for (const [key, value] of Object.entries(labels)) if (key !== LABEL.job) labels[key] = shared.text(value);
  return labels;
}

function memoryLimits(job: V1Job): Readonly<Record<string, string>> {
  const spec = job.spec?.template?.spec;
  const limits: Record<string, string> = {};
  for (const { name, resources } of [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])]) {
    const limit = resources?.limits?.["memory"];
    if (limit !== undefined) limits[name] = String(limit);
  }
  return shared.record(limits);
}

export function podView(pod: V1Pod): PodView {
  const conditions = pod.status?.conditions ?? [];
  const disruption = conditions.find(({ type, status }) => type === "DisruptionTarget" && status === "True");
  const unschedulable = conditions.find(
    ({ type, status, reason }) => type === "PodScheduled" && status === "False" && reason === "Unschedulable",
  );
  const sidecars = new Set(pod.spec?.initContainers?.filter(isSidecar).map(({ name }) => name));
  return {
    namespace: shared.text(pod.metadata?.namespace ?? ""),
    name: pod.metadata?.name ?? "",
    uid: pod.metadata?.uid ?? "",
    jobUid: pod.metadata?.ownerReferences?.find(({ kind }) => kind === "Job")?.uid ?? "",
    phase: pod.status?.phase ?? "",
    reason: pod.status?.reason ?? "",
    createdAt: time(pod.metadata?.creationTimestamp) ?? "",
    // An init container that fails is how the attempt ended, too; the main container, which never started, comes first.
    containers: [
      ...(pod.status?.containerStatuses ?? []).map(containerView),
      ...(pod.status?.initContainerStatuses ?? []).map(
        (status): ContainerView => ({ ...containerView(status), role: sidecars.has(status.name) ? "sidecar" : "init" }),
      ),
    ],
    ...optional("node", pod.spec?.nodeName === undefined ? undefined : shared.text(pod.spec.nodeName)),
    ...optional("disruption", disruption?.reason),
    ...optional("disruptedAt", time(disruption?.lastTransitionTime)),
    ...optional("deletedAt", deletedAt(pod)),
    ...(unschedulable === undefined
      ? {}
      : { unschedulable: { since: time(unschedulable.lastTransitionTime) ?? "", message: unschedulable.message ?? "" } }),
  };
}

function isSidecar(container: V1Container): boolean {
  return container.restartPolicy === "Always";
}

/** `deletionTimestamp` is when the grace period of the request ends. */
function deletedAt(pod: V1Pod): string | undefined {
  const graceEnds = time(pod.metadata?.deletionTimestamp);
  if (graceEnds === undefined) return undefined;
  const graceMs = (pod.metadata?.deletionGracePeriodSeconds ?? 0) * 1_000;
  return new Date(Date.parse(graceEnds) - graceMs).toISOString();
}

function containerView(status: V1ContainerStatus): ContainerView {
  const terminated = status.state?.terminated ?? status.lastState?.terminated;
  const waiting = status.state?.waiting;
  return {
    name: status.name,
    ...optional("startedAt", time(status.state?.running?.startedAt)),
    ...(terminated === undefined
      ? {}
      : {
          terminated: {
            exitCode: terminated.exitCode,
            reason: terminated.reason ?? "",
            message: terminated.message ?? "",
            ...optional("startedAt", time(terminated.startedAt)),
            ...optional("finishedAt", time(terminated.finishedAt)),
          },
        }),
    ...(waiting === undefined ? {} : { waiting: { reason: waiting.reason ?? "", message: waiting.message ?? "" } }),
  };
}
