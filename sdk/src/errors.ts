import { MillraceError } from "../../libs/contract/errors.ts";

/** They survive two copies of this package in one process, where `instanceof` does not. */
const RETRY_LATER = Symbol.for("millrace.retry-later");
const NON_RETRYABLE = Symbol.for("millrace.non-retryable");

/**
 * Thrown by a handler: the message is tried again after so many milliseconds (0 = at once). It burns none of the attempts; `retry.freeLimit` bounds
 * how often a message may end so.
 */
export class RetryLater extends MillraceError {
  readonly delayMs: number;
  readonly [RETRY_LATER] = true;

  /** @throws MillraceError `CONFIG_INVALID` when the delay is no number of milliseconds */
  constructor(delayMs: number, reason = "the handler asked for it", options?: ErrorOptions) {
    super("RETRY_LATER", reason, options);
    if (!Number.isFinite(delayMs) || delayMs < 0 || delayMs > LONGEST_DELAY_MS) {
      throw new MillraceError("CONFIG_INVALID", "RetryLater takes milliseconds, from 0 to a year");
    }
    this.name = "RetryLater";
    this.delayMs = Math.round(delayMs);
  }
}

/** Thrown by a handler: no attempt would ever succeed. The message goes to the DLQ at once. */
export class NonRetryable extends MillraceError {
  readonly [NON_RETRYABLE] = true;

  constructor(reason: string, options?: ErrorOptions) {
    super("NON_RETRYABLE", reason, options);
    this.name = "NonRetryable";
  }
}

/** Reason of `ctx.signal`: the message is another worker's now, and nothing that this handler does is wanted any more. */
export class LeaseLost extends MillraceError {
  constructor() {
    super("LEASE_LOST", "the lease on the message was lost: another worker has it, and what this handler does counts no more");
    this.name = "LeaseLost";
  }
}

/** Reason of `ctx.signal`: the time limit of the handler is over. */
export class HandlerTimeout extends MillraceError {
  constructor(timeoutMs: number) {
    super("HANDLER_TIMEOUT", `the handler took longer than its timeout of ${timeoutMs / 1000} s`);
    this.name = "HandlerTimeout";
  }
}

/** Reason of `ctx.signal`: the process must end, and the message is handed back to be tried again by another. */
export class ShuttingDown extends MillraceError {
  constructor() {
    super("SHUTTING_DOWN", "the worker is shutting down; the message is handed back, and costs no attempt");
    this.name = "ShuttingDown";
  }
}

const LONGEST_DELAY_MS = 366 * 86_400_000;

export function isRetryLater(error: unknown): error is RetryLater {
  return typeof error === "object" && error !== null && RETRY_LATER in error;
}

export function isNonRetryable(error: unknown): error is NonRetryable {
  return typeof error === "object" && error !== null && NON_RETRYABLE in error;
}
