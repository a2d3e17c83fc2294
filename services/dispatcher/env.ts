import { z } from "zod";
import { dispatchEnv, leaseEnv, readEnv, serviceEnv } from "../../libs/runtime/env.ts";
import { traceEnv } from "../../libs/runtime/trace.ts";
import { natsEnv } from "../../libs/streams/connection.ts";

export const dispatcherEnv = {
  ...serviceEnv,
  ...dispatchEnv,
  ...leaseEnv,
  ...natsEnv,
  ...traceEnv,
  LEADER_ELECTION: z
    .enum(["true", "false"])
    .default("false")
    .transform((text) => text === "true")
    .describe("One dispatcher works at a time, the others stand by; otherwise all of them work"),
} as const;

export type DispatcherEnv = z.output<z.ZodObject<typeof dispatcherEnv>>;

export const readDispatcherEnv = (env: NodeJS.ProcessEnv): DispatcherEnv => readEnv(dispatcherEnv, env);
