import type { ContainerView, JobView, PodView } from "./observation.ts";
import { podEnded } from "./observation.ts";
import type { QueueConfig } from "./queue-config.ts";
import { startOf } from "./verdict.ts";

type StartLimits = Pick<QueueConfig, "startTimeout" | "pullTimeout">;

/** What keeps an attempt from starting, as design §4.5 sorts it. */
export type StartTrouble =
  | { readonly kind: "none" }
  /** Look again at that time at the latest; nothing is wrong yet. */
  | { readonly kind: "wait"; readonly untilMs: number; readonly why: string }
  /** Not the attempt's trouble but its cluster's, so nothing is stopped. */
  | WithoutPod
  | { readonly kind: "stop"; readonly class: "image" | "containerConfig" | "neverStarted"; readonly reason: string };

export interface WithoutPod {
  readonly kind: "withoutPod";
  /** refused: its namespace is blocked; the Job's deadline counts. behind: its controller has not come to it, which says nothing of the namespace. */
  readonly cause: "refused" | "behind";
  /** To be looked at again then at the latest: after as long as it has waited already. */
  readonly untilMs: number;
  readonly why: string;
}

/** The Job controller makes a pod within milliseconds, unless something refuses it or it has thousands of others to make. */
const POD_EXPECTED_MS = 10_000;
const SHORTEST_LOOK_MS = 30_000;
const LONGEST_LOOK_MS = 300_000;

const IMAGE_HOPELESS = new Set(["InvalidImageName", "ErrImageNeverPull"]);
const IMAGE_TROUBLE = new Set([
  ...IMAGE_HOPELESS,
  "ErrImagePull",
  "ImagePullBackOff",
  "ImageInspectError",
  "RegistryUnavailable",
  "SignatureValidationFailed",
]);
const CONFIG_TROUBLE = new Set(["CreateContainerConfigError", "CreateContainerError"]);

/** What registries answer, in the words of containerd and CRI-O, when the image is not there or not for us. */
const PULL_REFUSED =
  /\bnot found\b|pull access denied|access to the resource is denied|manifest unknown|name unknown|does not exist|no match for platform|401 Unauthorized|403 Forbidden|404 Not Found|\bunauthorized: |authorization failed/i;

/** The kubelet will not run it as the pod asks, however long it waits. */
const ROOT_REFUSED = /runAsNonRoot|breaks non-root policy/;

/** What the kubelet ends some messages with, and the reason says already. */
const WHICH_CONTAINER = / \(pod: "[^"]*", container: [^)]*\)$/;

/** The node is slow or was restarted; nothing is wrong with the container's configuration. */
const NODE_TROUBLE = /failed to sync|timed out|deadline exceeded|is reserved for/i;

const WAITS_FOR_VOLUME = "a volume that cannot be mounted looks like this too, `kubectl describe pod` tells";

interface Trouble {
  readonly class: "image" | "containerConfig" | "neverStarted";
  readonly untilMs: number;
  readonly reason: string;
}

/**
 * Whether the Job's pod takes too long to start, told from statuses alone (rule J1). Times count from the pod's creation, or from the end
 * of its last init container: those may work for long, and the images of the others are pulled only then.
 */
export function startTrouble(options: {
  readonly job: JobView;
  readonly pods: readonly PodView[];
  readonly queue: StartLimits;
  readonly nowMs: number;
}): StartTrouble {
  const { job, pods, queue, nowMs } = options;
  if (isEnding(job)) return { kind: "none" };
  if (pods.length === 0) return withoutPod(job, nowMs);
  const pod = pods
    .filter((each) => !podEnded(each) && each.deletedAt === undefined)
    .sort(byCreation)
    .at(-1);
  if (pod === undefined || isStarted(pod)) return { kind: "none" };
  const troubles = troublesOf(pod, queue);
  // What is wrong with the image or the configuration says more than that it took long, so it comes first.
  const overdue = troubles.find(({ untilMs }) => untilMs <= nowMs);
  if (overdue !== undefined) return { kind: "stop", class: overdue.class, reason: overdue.reason };
  const [first, ...others] = troubles;
  return first === undefined
    ? { kind: "none" }
    : { kind: "wait", untilMs: Math.min(first.untilMs, ...others.map(({ untilMs }) => untilMs)), why: first.reason };
}

function isEnding(job: JobView): boolean {
  const { completedAt, failed, failureTarget } = job;
  return job.suspended || job.deleting || (completedAt ?? failed ?? failureTarget) !== undefined;
}

function withoutPod(job: JobView, nowMs: number): StartTrouble {
  const { namespace, name, podCount } = job;
  const createdMs = Date.parse(job.createdAt);
  const expectedMs = createdMs + POD_EXPECTED_MS;
  if (nowMs < expectedMs) return { kind: "wait", untilMs: expectedMs, why: "its pod is not there yet" };
  const ageMs = nowMs - createdMs;
  const untilMs = nowMs + Math.min(Math.max(ageMs, SHORTEST_LOOK_MS), LONGEST_LOOK_MS);
  if (podCount !== undefined && podCount > 0) return { kind: "wait", untilMs, why: "its pod has not been seen yet" };
  const since = `no pod was made in namespace ${namespace} for ${Math.floor(ageMs / 1000)} s`;
  return podCount === undefined
    ? { kind: "withoutPod", cause: "behind", untilMs, why: `${since}: the Job controller has not come to its Job yet` }
    : {
        kind: "withoutPod",
        cause: "refused",
        untilMs,
        why: `${since}, though the Job controller has tried: a quota on pods or an admission policy may refuse it, \`kubectl -n ${namespace} describe job ${name}\` tells`,
      };
}

function byCreation(a: PodView, b: PodView): number {
  return a.createdAt.localeCompare(b.createdAt);
}

/** A sidecar that runs has started nothing yet; an init container is at work only while it runs. */
function isStarted(pod: PodView): boolean {
  return pod.containers.some((container) => {
    if (container.role === undefined) return startOf(container) !== undefined;
    return container.role === "init" && container.startedAt !== undefined;
  });
}

function countsFromMs(pod: PodView): number {
  const ends = pod.containers.flatMap(({ role, terminated }) =>
    role === "init" && terminated?.finishedAt !== undefined ? [Date.parse(terminated.finishedAt)] : [],
  );
  return Math.max(Date.parse(pod.createdAt), ...ends);
}

/** Those of image and configuration first. */
function troublesOf(pod: PodView, queue: StartLimits): readonly Trouble[] {
  const fromMs = countsFromMs(pod);
  const troubles = pod.containers.flatMap((container) => containerTrouble(container, queue.pullTimeout, fromMs) ?? []);
  const earliestFirst = troubles.sort((a, b) => a.untilMs - b.untilMs);
  return [...earliestFirst, { class: "neverStarted", untilMs: fromMs + queue.startTimeout, reason: slowStart(pod) }];
}

function containerTrouble(
  { name, waiting }: ContainerView,
  limits: StartLimits["pullTimeout"],
  fromMs: number,
): Trouble | undefined {
  if (waiting === undefined) return undefined;
  const { reason, message } = waiting;
  if (IMAGE_TROUBLE.has(reason)) {
    const limitMs = IMAGE_HOPELESS.has(reason) ? 0 : PULL_REFUSED.test(message) ? limits.refused : limits.failing;
    return { class: "image", untilMs: fromMs + limitMs, reason: imageReason(name, reason, message) };
  }
  if (CONFIG_TROUBLE.has(reason) && !NODE_TROUBLE.test(message)) {
    const root = ROOT_REFUSED.test(message);
    const hint = root ? " (give it a runAsUser other than 0, or an image whose user is such a number)" : "";
    return {
      class: "containerConfig",
      untilMs: fromMs + (root ? 0 : limits.refused),
      reason: `container ${name} cannot be made${hint}: ${message.replace(WHICH_CONTAINER, "") || reason}`,
    };
  }
  return undefined;
}

function imageReason(container: string, reason: string, message: string): string {
  const [, image] = /image "([^"]+)"/.exec(message) ?? [];
  const what = image === undefined ? `the image of container ${container}` : `image ${image} of container ${container}`;
  if (reason === "InvalidImageName") return `${what} has an invalid name: ${message || reason}`;
  if (reason === "ErrImageNeverPull") return `${what} is not on the node, and its imagePullPolicy is Never`;
  const hint = PULL_REFUSED.test(message) ? " (check its name and the imagePullSecrets)" : "";
  return `${what} cannot be pulled${hint}: ${pullError(message) || reason}`;
}

/** The last part of the kubelet's and containerd's chain of messages, each of which repeats the image. */
function pullError(message: string): string {
  return message
    .replace(/^Back-off pulling image "[^"]*"(?:: )?/, "")
    .replace(/^ErrImagePull: /, "")
    .replace(/^rpc error: code = \w+ desc = /, "")
    .replace(/^failed to pull and unpack image "[^"]*": /, "")
    .replace(/^failed to resolve (?:reference|image) "[^"]*": /, "");
}

function slowStart(pod: PodView): string {
  if (pod.unschedulable !== undefined) return `no node takes its pod: ${pod.unschedulable.message}`;
  if (pod.node === undefined) return "its pod was given no node";
  const waiting = pod.containers.find((container) => container.role !== "sidecar" && container.waiting !== undefined)?.waiting;
  const sidecar = pod.containers.find(
    (container) => container.role === "sidecar" && container.waiting?.reason === "CrashLoopBackOff",
  );
  if (sidecar !== undefined) return `its sidecar ${sidecar.name} keeps ending: ${sidecar.waiting?.message ?? ""}`;
  const detail = waiting === undefined ? "" : `: ${waiting.reason}${waiting.message === "" ? "" : `, ${waiting.message}`}`;
  return `no container of its pod has started on node ${pod.node}${detail} (${WAITS_FOR_VOLUME})`;
}
