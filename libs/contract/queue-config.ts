import { z } from "zod";
import { QUEUE_PATTERN } from "./names.ts";
import { retryConfig } from "./retry-config.ts";
import { durationMs, parseQuantity, quantity } from "./units.ts";
import { overlappingSubjects, workerConfig } from "./work-config.ts";

const dnsLabel = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, "must be a DNS label");

/** What a raw message of this queue may ask for. Everything that is not listed is refused. */
export const policy = z.strictObject({
  raw: z
    .boolean()
    .default(false)
    .describe("Accept messages that bring their own job (image, command, …) instead of naming a template"),
  namespaces: z.array(dnsLabel).default([]).describe("Namespaces that a raw message may name besides the queue's own"),
  images: z.array(z.string()).default(["*"]).describe("Images a raw message may run; * matches any text"),
  serviceAccounts: z.array(z.string()).default([]).describe("ServiceAccounts a raw message may name besides default"),
  ceiling: z
    .record(z.string(), quantity)
    .default({ cpu: "4", memory: "8Gi" })
    .describe("The most of each resource that a raw message may ask for; other resources are refused"),
  envRefs: z
    .array(z.string())
    .default([])
    .describe("ConfigMaps and Secrets a raw message may read, as configMap/NAME or secret/NAME"),
  pvcs: z.array(z.string()).default([]).describe("PersistentVolumeClaims a raw message may mount"),
  gpu: z.int().min(0).default(0).describe("GPUs a raw message may ask for"),
  podSecurity: z.enum(["restricted", "baseline"]).default("restricted").describe("baseline allows images that must run as root"),
});

export const queueConfig = z
  .strictObject({
    slots: z.int().min(1).default(100).describe("Live Jobs at once"),
    retrySlots: z
      .int()
      .min(1)
      .optional()
      .describe("Live Jobs of retries and delayed starts, besides slots; without it a tenth of slots"),
    weight: z.int().min(1).max(1000).default(1).describe("Its share of the dispatchers when several queues are full"),
    namespace: z
      .union([dnsLabel, z.literal("")])
      .default("")
      .describe("Where template Jobs run; empty = the chart's jobs.namespace"),
    deadline: durationMs.prefault("1h").describe("How long an attempt may run; a hung Job must not hold a slot for ever"),
    deadlineMax: durationMs.prefault("24h").describe("The longest deadline that a message may ask for"),
    startTimeout: durationMs
      .prefault("10m")
      .describe("How long a pod may take until a container of it runs; then the attempt is taken back and tried again"),
    pullTimeout: z
      .strictObject({
        refused: durationMs.prefault("2m").describe("An image that is not found or denied, a missing ConfigMap or Secret"),
        failing: durationMs.prefault("5m").describe("Any other trouble of pulling"),
      })
      .prefault({})
      .describe("How long a pod may be kept from starting by its image or configuration before its job is dead"),
    retry: retryConfig.prefault({}),
    policy: policy.prefault({}),
    nodeLoss: z
      .enum(["fast", "safe"])
      .default("fast")
      .describe(
        "fast = act when the node is marked unreachable; safe = when the pod is gone, which needs somebody to remove the node",
      ),
    keep: z
      .strictObject({
        succeeded: durationMs.prefault("5m").describe("How long a succeeded Job stays in the cluster"),
        failed: durationMs.prefault("1h").describe("How long a failed Job stays in the cluster"),
      })
      .prefault({}),
    logTail: quantity
      .default("64Ki")
      .refine((text) => (parseQuantity(text) ?? 0) <= 64 * 1024, "must be at most 64Ki")
      .describe("How much of the end of a failed attempt's log is kept; 0 = none"),
    imagePullSecrets: z.array(z.string()).default([]),
  })
  .superRefine((queue, context) => {
    if (queue.deadline === 0) context.addIssue({ code: "custom", path: ["deadline"], message: "must be longer than 0s" });
    if (queue.deadline > queue.deadlineMax) {
      context.addIssue({ code: "custom", path: ["deadline"], message: "is longer than deadlineMax, so no message could run" });
    }
  });

const stringMap = z.record(z.string(), z.string());

/** Either the shorthand for one container `main`, or any core/v1 PodSpec, laid over the restricted defaults. */
export const templateConfig = z
  .strictObject({
    params: z.record(z.string(), z.unknown()).optional().describe("JSON Schema of the parameters; without it none are accepted"),
    image: z.string().optional(),
    command: z.array(z.string()).optional(),
    args: z.array(z.string()).optional(),
    env: stringMap.optional(),
    resources: z.record(z.string(), z.unknown()).optional(),
    serviceAccount: z.string().optional(),
    podSpec: z.record(z.string(), z.unknown()).optional(),
  })
  .superRefine((template, context) => {
    if ((template.image === undefined) === (template.podSpec === undefined)) {
      context.addIssue({ code: "custom", path: ["image"], message: "give either image (the shorthand) or podSpec" });
    }
  });

const name = z.string().regex(QUEUE_PATTERN, "must be a DNS label of at most 40 characters");

export const dispatchConfig = z
  .strictObject({
    // The DLQ keeps what workers gave up on under this name.
    queues: z.record(
      name.refine((queue) => queue !== "work", "is a name that Millrace needs itself"),
      queueConfig,
    ),
    templates: z.record(dnsLabel, templateConfig).default({}),
    workers: z.record(name, workerConfig).default({}),
  })
  .superRefine(({ workers }, context) => {
    const overlap = overlappingSubjects(Object.entries(workers).map(([worker, { subject }]) => ({ worker, subject })));
    if (overlap === undefined) return;
    const [one, other] = overlap;
    const message = `takes messages of workers.${other}, too; on a work queue each subject has one taker`;
    context.addIssue({ code: "custom", path: ["workers", one, "subject"], message });
  });

export type QueueConfig = z.output<typeof queueConfig>;

/** RETRY's share of live Jobs. Never 0, which NATS would read as 1000. */
export function retrySlotsOf(queue: Pick<QueueConfig, "slots" | "retrySlots">): number {
  return queue.retrySlots ?? Math.max(1, Math.floor(queue.slots / 10));
}

export type TemplateConfig = z.output<typeof templateConfig>;
/** Queues and templates as the chart's ConfigMap carries them. */
export type DispatchConfig = z.output<typeof dispatchConfig>;
