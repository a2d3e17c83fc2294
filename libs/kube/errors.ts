import { z } from "zod";
import { MillraceError } from "../contract/errors.ts";

/** `metav1.Status`, as far as it is read. */
export const apiStatus = z.object({
  reason: z.string().default(""),
  message: z.string().default(""),
  code: z.number().default(0),
});

/**
 * An answer of the API server that is not 2xx. `status` is the HTTP status; 0 means that no answer came (refused, reset, timed out),
 * so the request may or may not have been carried out.
 */
export class KubeApiError extends MillraceError {
  readonly status: number;
  readonly reason: string;

  constructor(options: { readonly status: number; readonly reason: string; readonly message: string; readonly cause?: unknown }) {
    super("KUBE_API", options.message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = "KubeApiError";
    this.status = options.status;
    this.reason = options.reason;
  }

  isNotFound(): boolean {
    return this.status === 404;
  }

  isAlreadyExists(): boolean {
    return this.status === 409 && this.reason === "AlreadyExists";
  }

  /** The request itself can never be accepted: the message's own fault (rule D7). */
  isInvalid(): boolean {
    return this.status === 400 || this.status === 413 || this.status === 422;
  }

  /** The resource version is too old to resume from; a new list is needed. */
  isGone(): boolean {
    return this.status === 410;
  }
}

export function isKubeApiError(error: unknown): error is KubeApiError {
  return error instanceof KubeApiError;
}

export function isNotFound(error: unknown): boolean {
  return isKubeApiError(error) && error.isNotFound();
}
