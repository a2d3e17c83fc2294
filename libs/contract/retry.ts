import { budgetPauseMs, freePauseMs, jittered } from "./backoff.ts";
import { assertNever } from "./errors.ts";
import { EFFECT_OF_CLASS, type FailureClass, type FailureEffect } from "./failure-class.ts";
import { escalate } from "./memory.ts";
import { currentAttempt, type JobRecord, type MemoryLimits } from "./record.ts";
import type { RetryConfig } from "./retry-config.ts";
import type { Failed } from "./verdict.ts";

/** What a decision needs besides the record and the verdict. */
export interface RetryPolicy {
  readonly config: RetryConfig;
  /** The message's own number of attempts (`backoffLimit` + 1); wins over the queue's. */
  readonly attempts: number | undefined;
  /** Why nothing is tried again, whatever the class says: the queue was removed, the bytes are lost. */
  readonly final: string | undefined;
  /** The cluster cannot run anything of this queue: an attempt that ended through nobody's fault is not even counted. */
  readonly blocked: boolean;
  /** In [0, 1). */
  readonly random: number;
}

export type RetryDecision =
  | { readonly kind: "retry"; readonly delayMs: number; readonly free: boolean; readonly memory: MemoryLimits | undefined }
  | { readonly kind: "dead"; readonly why: string };

/** Is an attempt that failed like this tried again, when, and with how much memory? (design §4.5) */
export function retryDecision(record: JobRecord, failed: Failed, policy: RetryPolicy): RetryDecision {
  if (policy.final !== undefined) return dead(policy.final);
  const effect = effectOf(failed, policy.config);
  switch (effect) {
    case "dead":
      return dead("");
    case "free":
      return freeRetry(record, policy);
    case "budget":
      return budgetRetry(record, policy, heldMemory(record));
    case "memory":
      return memoryRetry(record, failed, policy);
    default:
      return assertNever(effect);
  }
}

function effectOf(failed: Failed, config: RetryConfig): FailureEffect {
  if (failed.class === "exit" && failed.exitCode !== undefined && config.nonRetryableExitCodes.includes(failed.exitCode))
    return "dead";
  return effectOfClass(failed.class, config);
}

function effectOfClass(failureClass: FailureClass, config: RetryConfig): FailureEffect {
  return config.classes[failureClass] ?? EFFECT_OF_CLASS[failureClass];
}

function freeRetry(record: JobRecord, { config, blocked, random }: RetryPolicy): RetryDecision {
  const { free: taken, blocked: uncounted } = record.counts;
  if (!blocked && taken >= config.freeLimit)
    return dead(`${taken} attempts had ended through nobody's fault; freeLimit allows no more`);
  const delayMs = jittered(freePauseMs(config.freeBackoff, taken + uncounted), random);
  return { kind: "retry", delayMs, free: true, memory: heldMemory(record) };
}

function budgetRetry(record: JobRecord, policy: RetryPolicy, memory: MemoryLimits | undefined): RetryDecision {
  const burnt = burntAttempts(record);
  const allowed = policy.attempts ?? policy.config.attempts;
  if (burnt >= allowed) return dead(allowed === 1 ? "its only attempt" : `all ${allowed} attempts are used up`);
  const delayMs = jittered(budgetPauseMs(policy.config.backoff, burnt), policy.random);
  return { kind: "retry", delayMs, free: false, memory };
}

function memoryRetry(record: JobRecord, failed: Failed, policy: RetryPolicy): RetryDecision {
  const { factor, limit } = policy.config.oom;
  const { container, memoryLimit } = failed;
  // Without a limit of its own the container used up its node: that more would help is not known.
  if (container === undefined || memoryLimit === undefined) return budgetRetry(record, policy, heldMemory(record));
  const more = escalate(memoryLimit, factor, limit);
  // A kill that is only taken for lack of memory may have been another: it is tried again as it was.
  if (more === undefined && failed.presumed === true) return budgetRetry(record, policy, heldMemory(record));
  if (more === undefined) return dead(`it had ${memoryLimit}, and retry.oom.limit is ${limit}`);
  return budgetRetry(record, policy, { ...heldMemory(record), [container]: more });
}

/** Attempts of this life that cost one, the ended one included. */
function burntAttempts(record: JobRecord): number {
  return record.attempt - record.budgetFrom + 1 - record.counts.free - record.counts.blocked;
}

/** What an earlier attempt was given stays: the job needs it. */
function heldMemory(record: JobRecord): MemoryLimits | undefined {
  return currentAttempt(record)?.memory;
}

function dead(why: string): RetryDecision {
  return { kind: "dead", why };
}
