import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { z } from "zod";
import { MillraceError } from "../../libs/contract/errors.ts";
import { INSTANCE_PATTERN, QUEUE_PATTERN } from "../../libs/contract/names.ts";
import { durationMs } from "../../libs/contract/units.ts";
import type { ClaimHolder } from "../../libs/contract/work-claim.ts";
import { type WorkRetryConfig, workRetryConfig } from "../../libs/contract/work-config.ts";
import { readEnv } from "../../libs/runtime/env.ts";
import { type NatsSettings, natsEnv } from "../../libs/streams/connection.ts";
import type { Worker } from "./worker.ts";

const retryJson = z.string().transform((text, context) => {
  try {
    const parsed = workRetryConfig.safeParse(JSON.parse(text));
    if (parsed.success) return parsed.data;
    for (const { path, message } of parsed.error.issues) context.addIssue(`${path.join(".")}: ${message}`);
  } catch {
    context.addIssue("must be JSON, as the chart's workers.<name>.retry");
  }
  return z.NEVER;
});

/** What the chart sets on a worker's pods. All of it has a default, so that a worker runs on a laptop with NATS_URL alone. */
export const workerEnv = {
  ...natsEnv,
  MILLRACE_WORKER: z
    .string()
    .regex(QUEUE_PATTERN, "must be a name of the chart's workers")
    .optional()
    .describe("The worker's name; without it that of defineWorker"),
  MILLRACE_INSTANCE: z.string().regex(INSTANCE_PATTERN, "must be <namespace>.<release>").optional(),
  MILLRACE_CONCURRENCY: z.coerce
    .number()
    .int()
    .min(1)
    .max(1000)
    .optional()
    .describe("Messages that this process works on at once"),
  MILLRACE_TIMEOUT: durationMs
    .refine((ms) => ms > 0, "must be longer than 0s")
    .optional()
    .describe("How long a handler may take"),
  MILLRACE_RETRY: retryJson.optional().describe("How failed messages are tried again, as JSON"),
  MILLRACE_GRACE: durationMs
    .optional()
    .describe("How long messages in flight may take after SIGTERM; without it the timeout and 20 s"),
  ACK_WAIT: durationMs
    .prefault("120s")
    .describe("After how long without a renewal the broker delivers a message again; that of the consumers"),
  LOG_LEVEL: z.enum(["trace", "debug", "info", "warn", "error"]).default("info"),
  HTTP_SERVER_PORT: z.coerce.number().int().min(0).max(65_535).default(8080).describe("/healthz, /readyz and /metrics"),
  POD_NAME: z.string().optional(),
  POD_NAMESPACE: z.string().optional(),
  POD_UID: z.string().optional().describe("By which the monitor knows whose messages a dead pod held"),
  NODE_NAME: z.string().optional(),
} as const;

export interface WorkerSettings {
  readonly nats: NatsSettings;
  readonly name: string;
  readonly concurrency: number;
  readonly timeoutMs: number;
  readonly retry: WorkRetryConfig;
  readonly graceMs: number;
  readonly ackWaitMs: number;
  readonly logLevel: string;
  readonly httpPort: number;
  readonly holder: ClaimHolder;
}

const GRACE_AFTER_TIMEOUT_MS = 20_000;
/** 24 days: a timer that is to last longer fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * The worker that this process is to be, and its settings: what the environment says, else what `defineWorker` says.
 * @throws MillraceError `CONFIG_INVALID`
 */
export function workerSettings(
  workers: readonly Worker[],
  processEnv: NodeJS.ProcessEnv,
): { readonly worker: Worker; readonly settings: WorkerSettings } {
  const env = readEnv(workerEnv, processEnv);
  const worker = chosen(workers, env.MILLRACE_WORKER);
  const timeoutMs = Math.min(env.MILLRACE_TIMEOUT ?? worker.timeoutMs, LONGEST_TIMER_MS);
  const podName = env.POD_NAME ?? hostname();
  const process = randomUUID();
  return {
    worker,
    settings: {
      nats: env,
      name: env.MILLRACE_WORKER ?? worker.queue,
      concurrency: env.MILLRACE_CONCURRENCY ?? worker.concurrency,
      timeoutMs,
      retry: env.MILLRACE_RETRY ?? workRetryConfig.parse({}),
      graceMs: Math.min(env.MILLRACE_GRACE ?? timeoutMs + GRACE_AFTER_TIMEOUT_MS, LONGEST_TIMER_MS),
      ackWaitMs: env.ACK_WAIT,
      logLevel: env.LOG_LEVEL,
      httpPort: env.HTTP_SERVER_PORT,
      holder: {
        // Outside Kubernetes no two processes are one pod.
        pod: env.POD_UID ?? `local-${process}`,
        podName,
        process,
        bootedAtMs: Math.round(performance.timeOrigin),
        ackWaitMs: env.ACK_WAIT,
        ...(env.NODE_NAME === undefined ? {} : { node: env.NODE_NAME }),
      },
    },
  };
}

/** One image may hold several workers: then its pods say which they are. One worker may run under any name. */
function chosen(workers: readonly Worker[], name: string | undefined): Worker {
  const [only] = workers;
  if (only === undefined) throw new MillraceError("CONFIG_INVALID", "there is no worker to run: call defineWorker first");
  if (workers.length === 1) return only;
  const named = workers.find(({ queue }) => queue === name);
  if (named !== undefined) return named;
  const known = workers.map(({ queue }) => queue).join(", ");
  throw new MillraceError("CONFIG_INVALID", `set MILLRACE_WORKER to the worker that this process is to be: ${known}`);
}
