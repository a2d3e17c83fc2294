import { MillraceError } from "../../libs/contract/errors.ts";
import { QUEUE_PATTERN } from "../../libs/contract/names.ts";
import { durationMs } from "../../libs/contract/units.ts";
import type { Context } from "./context.ts";
import type { OutputOf, StandardSchema } from "./standard-schema.ts";

export interface WorkerOptions {
  /** The worker's name in the chart's values (`workers.<name>`). The environment (`MILLRACE_WORKER`) goes before it. */
  readonly queue: string;
  /** Messages that one process works on at once. Default 1; the chart's `concurrency` goes before it. */
  readonly concurrency?: number;
  /** How long a handler may take, such as `90s` or `5m`. Default `5m`; the chart's `timeout` goes before it. */
  readonly timeout?: string;
}

/** Called once for each attempt. When it resolves, the message is done; what it throws decides what becomes of the message. */
export type Handler<Data> = (ctx: Context<Data>) => Promise<void> | void;

/** A worker that is ready to run. Made by `defineWorker`. */
export interface Worker {
  readonly queue: string;
  readonly concurrency: number;
  readonly timeoutMs: number;
  /** `json`: strict JSON in UTF-8. `bytes`: as it was published. */
  readonly body: "json" | "bytes";
  readonly schema: StandardSchema | undefined;
  readonly handler: Handler<unknown>;
}

interface AnyOptions extends WorkerOptions {
  readonly schema?: StandardSchema;
  readonly body?: "json" | "bytes";
  // Each overload says what the handler is given; here it is only passed on.
  readonly handler: Handler<never>;
}

const defined: Worker[] = [];

/** Messages whose body the schema takes; `ctx.data` is what the schema makes of it. A body that it refuses goes to the DLQ at once. */
export function defineWorker<Schema extends StandardSchema>(
  options: WorkerOptions & { readonly schema: Schema; readonly handler: Handler<OutputOf<Schema>> },
): Worker;
/** Messages of any bytes. */
export function defineWorker(options: WorkerOptions & { readonly body: "bytes"; readonly handler: Handler<Uint8Array> }): Worker;
/** Messages of any JSON. */
export function defineWorker(options: WorkerOptions & { readonly handler: Handler<unknown> }): Worker;
/** @throws MillraceError `CONFIG_INVALID` */
export function defineWorker(options: AnyOptions): Worker {
  const { queue, concurrency = 1, timeout = "5m", schema, body = "json", handler } = options;
  const timeoutMs = durationMs.safeParse(timeout);
  if (!QUEUE_PATTERN.test(queue)) throw invalid("queue must be a DNS label of at most 40 characters, as in the chart's values");
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 1000) {
    throw invalid("concurrency must be a whole number from 1 to 1000");
  }
  if (!timeoutMs.success || timeoutMs.data === 0) throw invalid("timeout must be a duration such as 90s or 5m");
  if (schema !== undefined && body === "bytes") throw invalid("a schema is for JSON; leave out either schema or body");
  const worker: Worker = { queue, concurrency, timeoutMs: timeoutMs.data, schema, body, handler: handler as Handler<unknown> };
  defined.push(worker);
  return worker;
}

/** What this process has defined so far. */
export const definedWorkers = (): readonly Worker[] => defined;

function invalid(problem: string): MillraceError {
  return new MillraceError("CONFIG_INVALID", `defineWorker: ${problem}`);
}
