import { z } from "zod";
import { readEnv, serviceEnv } from "../../libs/runtime/env.ts";
import { natsEnv } from "../../libs/streams/connection.ts";

export const scalerEnv = {
  ...serviceEnv,
  ...natsEnv,
  GRPC_SERVER_PORT: z.coerce.number().int().min(0).max(65_535).default(9090).describe("Where KEDA asks"),
} as const;

export type ScalerEnv = z.output<z.ZodObject<typeof scalerEnv>>;

export const readScalerEnv = (env: NodeJS.ProcessEnv): ScalerEnv => readEnv(scalerEnv, env);
