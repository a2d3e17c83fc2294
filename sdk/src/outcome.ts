import { errorText } from "../../libs/contract/errors.ts";
import type { WorkEnd } from "../../libs/contract/work-retry.ts";
import { HandlerTimeout, isNonRetryable, isRetryLater, LeaseLost, ShuttingDown } from "./errors.ts";

/** How a handler came to its end. */
export type HandlerResult = { readonly kind: "returned" } | { readonly kind: "threw"; readonly error: unknown };

/** What becomes of its message. */
export type Outcome =
  | { readonly kind: "succeeded" }
  | { readonly kind: "failed"; readonly ended: WorkEnd; readonly askedMs?: number }
  /** The same attempt is made by another worker. */
  | { readonly kind: "handBack" }
  /** It is another worker's already. */
  | { readonly kind: "lost" };

/**
 * What the end of a handler means. `abortedFor` is the reason of its signal, as far as it was aborted. A handler that returns has done its work,
 * however late; what it throws after it was told to stop is most often only that.
 */
export function outcomeOf(result: HandlerResult, abortedFor: unknown): Outcome {
  if (abortedFor instanceof LeaseLost) return { kind: "lost" };
  if (result.kind === "returned") return { kind: "succeeded" };
  const { error } = result;
  if (isNonRetryable(error)) return { kind: "failed", ended: { class: "nonRetryable", reason: errorLine(error) } };
  if (isRetryLater(error)) {
    return { kind: "failed", ended: { class: "later", reason: errorLine(error) }, askedMs: error.delayMs };
  }
  if (abortedFor instanceof ShuttingDown) return { kind: "handBack" };
  if (abortedFor instanceof HandlerTimeout) return { kind: "failed", ended: { class: "timeout", reason: abortedFor.message } };
  return { kind: "failed", ended: { class: "error", reason: errorLine(error) } };
}

const LINE_CHARACTERS = 300;

/** The first line of an error's message: what stands below it is a stack or somebody's payload. */
export function errorLine(error: unknown): string {
  const line =
    errorText(error)
      .trim()
      .split(/[\r\n]/)[0] ?? "";
  const name = error instanceof Error && error.name !== "Error" ? error.name : "an error without a message";
  return (line === "" ? name : line).slice(0, LINE_CHARACTERS);
}
