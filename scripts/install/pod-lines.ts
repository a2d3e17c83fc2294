import { z } from "zod";

const terminated = z.object({ reason: z.string().default(""), exitCode: z.number(), message: z.string().default("") });
const containerStatus = z.object({
  name: z.string(),
  ready: z.boolean(),
  restartCount: z.number(),
  state: z
    .object({
      waiting: z.object({ reason: z.string().default(""), message: z.string().default("") }).optional(),
      terminated: terminated.optional(),
    })
    .default({}),
  lastState: z.object({ terminated: terminated.optional() }).default({}),
});
export const podSchema = z.object({
  metadata: z.object({ name: z.string(), deletionTimestamp: z.string().optional() }),
  status: z.object({
    phase: z.string().default(""),
    reason: z.string().default(""),
    message: z.string().default(""),
    conditions: z
      .array(z.object({ type: z.string(), status: z.string(), reason: z.string().default(""), message: z.string().default("") }))
      .default([]),
    initContainerStatuses: z.array(containerStatus).default([]),
    containerStatuses: z.array(containerStatus).default([]),
  }),
});
export type Pod = z.infer<typeof podSchema>;

const NAME_WIDTH = 44;
const MESSAGE_LENGTH = 240;

export function isWell({ metadata, status }: Pod): boolean {
  if (status.phase === "Succeeded") return true;
  return metadata.deletionTimestamp === undefined && containersReady(status) && !isNotReady(status);
}

/** Not merely on its way up or down: it was started again, or cannot be started. */
export function isFailing(pod: Pod): boolean {
  if (isWell(pod) || pod.metadata.deletionTimestamp !== undefined) return false;
  const { containerStatuses, phase } = pod.status;
  return (
    phase === "Failed" || containerStatuses.some(({ restartCount, state }) => restartCount > 0 || !isCreating(state.waiting))
  );
}

const isCreating = (waiting: { readonly reason: string } | undefined): boolean =>
  waiting === undefined || ["", "ContainerCreating", "PodInitializing"].includes(waiting.reason);

function containersReady(status: Pod["status"]): boolean {
  return status.containerStatuses.length > 0 && status.containerStatuses.every(({ ready }) => ready);
}

/** What its node last said of the containers stays as it was when the node is lost; this condition does not. */
function isNotReady(status: Pod["status"]): boolean {
  return status.conditions.some(({ type, status: is }) => type === "Ready" && is === "False");
}

/** One line: what the pod is in, why, and what its last life died of. */
export function podLine(pod: Pod): string {
  const restarts = pod.status.containerStatuses.reduce((sum, { restartCount }) => sum + restartCount, 0);
  const parts = [podState(pod), `${restarts} restarts`];
  const died = pod.status.containerStatuses.flatMap(({ lastState }) => lastState.terminated ?? []).at(0);
  if (died !== undefined) parts.push(`last one: ${ending(died)}`);
  return `${pod.metadata.name.padEnd(NAME_WIDTH)} ${parts.join(", ")}`;
}

function podState(pod: Pod): string {
  const { metadata, status } = pod;
  if (metadata.deletionTimestamp !== undefined) return "being deleted";
  if (isWell(pod)) return "ready";
  if (status.reason !== "") return explained(status.reason, status.message);
  const containers = [...status.initContainerStatuses, ...status.containerStatuses];
  const waiting = containers.find(({ state }) => state.waiting !== undefined && state.waiting.reason !== "PodInitializing")?.state
    .waiting;
  if (waiting !== undefined) return explained(waiting.reason, waiting.message);
  const ended = containers.find(
    ({ name, state }) => state.terminated !== undefined && !initDone(status.initContainerStatuses, name),
  );
  if (ended?.state.terminated !== undefined) return `ended: ${ending(ended.state.terminated)}`;
  if (containersReady(status)) return "not ready: its node does not answer any more";
  const refused = status.conditions.find(({ type, status: is }) => type === "PodScheduled" && is === "False");
  if (refused !== undefined) return explained(refused.reason, refused.message);
  return status.phase === "Running"
    ? "not ready: its readiness probe has not passed"
    : `not ready: ${status.phase.toLowerCase() || "no status yet"}`;
}

/** An init container that ended well is what it should be. */
function initDone(init: Pod["status"]["initContainerStatuses"], name: string): boolean {
  return init.some((container) => container.name === name && container.state.terminated?.exitCode === 0);
}

function ending({ reason, exitCode, message }: z.infer<typeof terminated>): string {
  return explained(`${reason === "" ? "ended" : reason} (exit code ${exitCode})`, message);
}

function explained(reason: string, message: string): string {
  const text = message.trim().replace(/\s+/g, " ").slice(0, MESSAGE_LENGTH);
  return text === "" ? reason : `${reason}: ${text}`;
}
