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
  /** How long the server asks to be left alone: with 429, and with 503 while it shuts down. */
  readonly retryAfterMs: number | undefined;

  constructor(options: {
    readonly status: number;
    readonly reason: string;
    readonly message: string;
    readonly retryAfterMs?: number | undefined;
    readonly cause?: unknown;
  }) {
    super("KUBE_API", options.message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = "KubeApiError";
    this.status = options.status;
    this.reason = options.reason;
    this.retryAfterMs = options.retryAfterMs;
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

  /**
   * Nobody's fault for good (rule D8): the same request may be accepted later. 404 is the namespace's. A 409 that is not `AlreadyExists` comes
   * from the quota admission, which lost its race to write the usage down. What the API server itself never says is a proxy's word between us
   * (a redirect, 405 of a maintenance page), and no reason to give a message up.
   */
  isBlocked(): boolean {
    return !this.isInvalid() && !this.isAlreadyExists();
  }

  /** The namespace is full, in the words of apiserver `admission/plugin/resourcequota`; room comes with the next Job that goes. */
  isQuota(): boolean {
    return this.status === 403 && this.message.includes(" is forbidden: exceeded quota: ");
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

export function isForbidden(error: unknown): boolean {
  return isKubeApiError(error) && error.status === 403;
}

/**
 * The object of that name is another one. A DELETE's precondition says so with 409 Conflict (apimachinery `NewUIDPreconditions`); a PATCH that
 * names another uid tries to change an immutable field (`ValidateObjectMetaUpdate`), which is 422 Invalid. Any other 409 is a race that the
 * API server gave up to win: the object is there.
 */
export function isOtherUid(error: unknown): boolean {
  if (!isKubeApiError(error)) return false;
  return error.status === 409
    ? /UID in (?:the )?precondition/.test(error.message)
    : error.status === 422 && error.message.includes("metadata.uid");
}
