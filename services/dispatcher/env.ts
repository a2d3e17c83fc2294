import type { z } from "zod";
import { dispatchEnv, readEnv, serviceEnv } from "../../libs/runtime/env.ts";
import { natsEnv } from "../../libs/streams/connection.ts";

export const dispatcherEnv = { ...serviceEnv, ...dispatchEnv, ...natsEnv } as const;

export type DispatcherEnv = z.output<z.ZodObject<typeof dispatcherEnv>>;

export const readDispatcherEnv = (env: NodeJS.ProcessEnv): DispatcherEnv => readEnv(dispatcherEnv, env);
