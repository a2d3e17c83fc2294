import { z } from "zod";
import { backoffConfig, freeBackoffConfig, freeLimitConfig } from "./retry-config.ts";
import { durationMs } from "./units.ts";

/** Their streams and services are Millrace's own. */
export const RESERVED_SUBJECTS = ["jobs", "retry", "events", "dlq", "work", "millrace"];
const SUBJECT = /^[A-Za-z0-9_-]+(?:\.(?:[A-Za-z0-9_-]+|\*))*(?:\.>)?$/;

/** A subject that a worker may take: the first token is a name, later ones may be `*`, and the last one `>`. */
export const workSubject = z
  .string()
  .max(200)
  .regex(SUBJECT, "must be a NATS subject such as image-download or images.*.resize, whose first token is no wildcard")
  .refine(
    (subject) => !RESERVED_SUBJECTS.includes(subject.split(".")[0] ?? ""),
    `must not begin with ${RESERVED_SUBJECTS.join(", ")}: those are Millrace's own`,
  );

/** How a worker's failed messages are tried again. */
export const workRetryConfig = z.strictObject({
  attempts: z.int().min(1).max(1000).default(3).describe("How often a message may fail before it goes to the DLQ"),
  backoff: backoffConfig,
  freeLimit: freeLimitConfig,
  freeBackoff: freeBackoffConfig,
});

/** What the services need to know of a worker. What only its pods need (image, resources, environment) is the chart's. */
export const workerConfig = z
  .object({
    subject: workSubject.describe("The subject of its messages"),
    concurrency: z.int().min(1).max(1000).default(1).describe("Messages that one pod works on at once"),
    min: z.int().min(0).default(0).describe("The fewest pods"),
    max: z.int().min(1).max(10_000).default(10).describe("The most pods"),
    lagThreshold: z
      .int()
      .min(1)
      .max(1_000_000)
      .optional()
      .describe("Messages, waiting or being worked on, for each of which so many there is one pod; without it the concurrency"),
    timeout: durationMs.prefault("5m").describe("How long a handler may take"),
    retry: workRetryConfig
      .prefault({})
      .describe(
        "How failed messages are tried again: attempts, backoff {initial, factor or increment, max, or delays}, freeLimit, freeBackoff",
      ),
    trigger: z
      .enum(["push", "poll"])
      .default("push")
      .describe("push = Millrace's scaler tells KEDA at once; poll = KEDA asks NATS' monitoring port by itself"),
    cooldown: durationMs.prefault("30s").describe("How long it stays without work before the last pod goes"),
    deletionCost: z
      .boolean()
      .default(false)
      .describe("Whether the monitor marks busy pods, so that idle ones go first; it then may change the pods of the release"),
  })
  .superRefine((worker, context) => {
    if (worker.timeout === 0) context.addIssue({ code: "custom", path: ["timeout"], message: "must be longer than 0s" });
    if (worker.min > worker.max) context.addIssue({ code: "custom", path: ["min"], message: "is more than max" });
  });

export type WorkRetryConfig = z.output<typeof workRetryConfig>;
export type WorkerConfig = z.output<typeof workerConfig>;

/** The first two workers that would take the same message: a work-queue stream refuses the second one's consumer. */
export function overlappingSubjects(
  workers: readonly { readonly worker: string; readonly subject: string }[],
): readonly [string, string] | undefined {
  for (const [index, one] of workers.entries()) {
    const other = workers.slice(index + 1).find(({ subject }) => subjectsOverlap(one.subject, subject));
    if (other !== undefined) return [one.worker, other.worker];
  }
  return undefined;
}

/** Whether some subject matches both patterns. */
export function subjectsOverlap(a: string, b: string): boolean {
  const [left, right] = [a.split("."), b.split(".")];
  for (let at = 0; at < Math.max(left.length, right.length); at += 1) {
    const [one, other] = [left[at], right[at]];
    if (one === undefined || other === undefined) return false;
    if (one === ">" || other === ">") return true;
    if (one !== "*" && other !== "*" && one !== other) return false;
  }
  return true;
}
