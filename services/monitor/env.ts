import { z } from "zod";
import { durationMs, parseQuantity, quantity } from "../../libs/contract/units.ts";
import { dispatchEnv, leaseEnv, readEnv, serviceEnv } from "../../libs/runtime/env.ts";
import { traceEnv } from "../../libs/runtime/trace.ts";
import { natsEnv } from "../../libs/streams/connection.ts";

export const monitorEnv = {
  ...serviceEnv,
  ...dispatchEnv,
  ...leaseEnv,
  ...natsEnv,
  ...traceEnv,
  STREAM_REPLICAS: z.coerce.number().int().min(1).max(5).default(1),
  STORE_SIZE: quantity
    .prefault("8Gi")
    .transform((text) => parseQuantity(text) ?? 0)
    .describe("What NATS may store on disk; the streams together take 90 % of it"),
  SWEEP_INTERVAL: durationMs
    .prefault("30s")
    .describe("How often the stores and the cluster are compared; what a watch missed is found by then"),
  UNKNOWN_QUEUE_AFTER: durationMs.prefault("10m").describe("After how long a message that no queue takes goes to the DLQ"),
} as const;

export type MonitorEnv = z.output<z.ZodObject<typeof monitorEnv>>;

export const readMonitorEnv = (env: NodeJS.ProcessEnv): MonitorEnv => readEnv(monitorEnv, env);
