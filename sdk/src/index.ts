export type { Context, ContextLog } from "./context.ts";
export { HandlerTimeout, LeaseLost, NonRetryable, RetryLater, ShuttingDown } from "./errors.ts";
export type { Published, PublishOptions } from "./published.ts";
export { type RunOptions, run, runWorker } from "./run.ts";
export type {
  OutputOf,
  StandardFailure,
  StandardIssue,
  StandardPathSegment,
  StandardProps,
  StandardResult,
  StandardSchema,
  StandardSuccess,
  StandardTypes,
} from "./standard-schema.ts";
export { defineWorker, type Handler, type Worker, type WorkerOptions } from "./worker.ts";
