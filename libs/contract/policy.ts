import type { Outcome, RawMessage, Rejected } from "./message.ts";
import { accepted, rejected } from "./message.ts";
import type { QueueConfig } from "./queue-config.ts";
import { parseQuantity } from "./units.ts";

const denied = (path: string, reason: string): Rejected => rejected("POLICY_DENIED", path, reason);

/** `*` matches any text; everything else is literal. */
export function globMatches(pattern: string, text: string): boolean {
  const literal = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${literal.join(".*")}$`, "s").test(text);
}

/**
 * May this raw message run on this queue? The message never decides power: whatever the policy does not list is refused, so a
 * new field of the message is harmless until somebody allows it.
 */
export function authorise(job: RawMessage["job"], queue: QueueConfig, queueNamespace: string): Outcome<void> {
  const { policy } = queue;
  if (!policy.raw) return denied("job", "this queue accepts templates only (policy.raw is false)");
  if (job.namespace !== queueNamespace && !policy.namespaces.includes(job.namespace)) {
    return denied("job.namespace", "is not in the queue's policy.namespaces");
  }
  if (!policy.images.some((pattern) => globMatches(pattern, job.image))) {
    return denied("job.image", "matches nothing in the queue's policy.images");
  }
  if (
    job.serviceAccount !== undefined &&
    job.serviceAccount !== "default" &&
    !policy.serviceAccounts.includes(job.serviceAccount)
  ) {
    return denied("job.serviceAccount", "is not in the queue's policy.serviceAccounts");
  }
  for (const [index, ref] of (job.envRef ?? job.envFrom ?? []).entries()) {
    if (!policy.envRefs.includes(`${ref.type}/${ref.name}`)) {
      return denied(`job.envRef[${index}]`, "is not in the queue's policy.envRefs");
    }
  }
  if (job.volume !== undefined && !policy.pvcs.includes(job.volume.pvc)) {
    return denied("job.volume.pvc", "is not in the queue's policy.pvcs");
  }
  const gpus = job.gpuEnable === true ? (job.gpuNumber ?? 1) : 0;
  if (gpus > policy.gpu) return denied("job.gpuNumber", `asks for ${gpus}; the queue's policy.gpu is ${policy.gpu}`);
  if (job.activeDeadlineSeconds !== undefined && job.activeDeadlineSeconds * 1000 > queue.deadlineMax) {
    return denied("job.activeDeadlineSeconds", `is longer than the queue's deadlineMax of ${queue.deadlineMax / 1000} s`);
  }
  for (const side of ["limits", "requests"] as const) {
    for (const [resource, amount] of Object.entries(job.resources?.[side] ?? {})) {
      const ceiling = Object.hasOwn(policy.ceiling, resource) ? policy.ceiling[resource] : undefined;
      if (ceiling === undefined) return denied(`job.resources.${side}.${resource}`, "is not in the queue's policy.ceiling");
      if ((parseQuantity(amount) ?? Number.POSITIVE_INFINITY) > (parseQuantity(ceiling) ?? 0)) {
        return denied(`job.resources.${side}.${resource}`, `is above the queue's ceiling of ${ceiling}`);
      }
    }
  }
  return accepted(undefined);
}
