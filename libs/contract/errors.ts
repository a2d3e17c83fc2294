/** Marks every error that Millrace raises on purpose; survives two copies of this package in one process, where `instanceof` does not. */
const MARK = Symbol.for("millrace.error");

/**
 * A failure with a stable code. The message says what happened, why, and what to do; it never holds a payload or a secret.
 *
 * `code` is part of the product's contract: scripts and alerts match on it, never on the message.
 */
export class MillraceError extends Error {
  readonly code: string;
  readonly [MARK] = true;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "MillraceError";
    this.code = code;
  }
}

export function isMillraceError(error: unknown): error is MillraceError {
  return typeof error === "object" && error !== null && MARK in error;
}

/** The text of anything that was thrown, for logs and messages. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Makes the compiler prove that a switch over a union is complete. */
export function assertNever(value: never): never {
  throw new MillraceError("INTERNAL", `unhandled variant: ${JSON.stringify(value)}`);
}
