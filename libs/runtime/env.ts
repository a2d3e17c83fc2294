import { z } from "zod";
import { MillraceError } from "../contract/errors.ts";
import { INSTANCE_PATTERN } from "../contract/names.ts";
import { durationMs } from "../contract/units.ts";

/** What every service reads from its environment. Durations are given with a unit (`120s`) and kept as milliseconds. */
export const serviceEnv = {
  MILLRACE_INSTANCE: z.string().regex(INSTANCE_PATTERN, "must be <namespace>.<release>").describe("Whose Jobs these are"),
  POD_NAME: z.string().default("local").describe("Named in logs"),
  LOG_LEVEL: z.enum(["trace", "debug", "info", "warn", "error"]).default("info"),
  HTTP_SERVER_PORT: z.coerce.number().int().min(0).max(65_535).default(8080).describe("/healthz, /readyz and /metrics"),
  SHUTDOWN_TIMEOUT: durationMs
    .prefault("25s")
    .describe("How long work in flight may take after SIGTERM; must be below the pod's grace period"),
} as const;

/** Where queues and templates are read from, where their Jobs may live, and how long messages and outcomes are kept. */
export const dispatchEnv = {
  POD_NAMESPACE: z.string().min(1).describe("The namespace of the release, which holds the ConfigMap"),
  CONFIG_MAP: z.string().min(1).describe("ConfigMap with the key config.json: queues and templates"),
  JOBS_NAMESPACE: z.string().min(1).describe("Where template Jobs run unless their queue says otherwise"),
  JOB_NAMESPACES: z
    .string()
    .min(1)
    .transform((text) => [...new Set(text.split(",").map((name) => name.trim()))].filter((name) => name !== ""))
    .refine((names) => names.length > 0, "must name at least one namespace")
    .describe("Every namespace in which Jobs may be created, comma-separated"),
  ACK_WAIT: durationMs.prefault("120s").describe("After how long without a lease renewal the broker delivers a message again"),
  HISTORY: durationMs.prefault("720h").describe("How long outcomes are kept: the age limit of EVENTS, DLQ, records and logs"),
} as const;

/** How one of several pods comes to lead. The Lease is in the namespace of the release. */
export const leaseEnv = {
  LEASE_NAME: z.string().min(1).describe("The Lease whose holder leads; services of one kind share it"),
} as const;

/**
 * Reads a service's environment once. Every problem is reported at once, by name; values are never quoted, because some are secrets.
 * @throws MillraceError `CONFIG_INVALID`
 */
export function readEnv<Shape extends z.ZodRawShape>(shape: Shape, env: NodeJS.ProcessEnv): z.output<z.ZodObject<Shape>> {
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ""));
  const parsed = z.object(shape).safeParse(present);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `  ${issue.path.join(".")}: ${issue.message}`);
  throw new MillraceError("CONFIG_INVALID", `the environment cannot be used; set or correct:\n${problems.join("\n")}`);
}
