import { z } from "zod";
import { FAILURE_CLASSES, FAILURE_EFFECTS } from "./failure-class.ts";
import { durationMs, quantity } from "./units.ts";

const atLeastOneFactor = z.number().min(1);

/** How a queue's failed attempts are tried again. */
/** Pauses between attempts that somebody's fault ended. */
export const backoffConfig = z
  .strictObject({
    initial: durationMs.prefault("10s").describe("Pause before the second attempt"),
    factor: atLeastOneFactor.default(2).describe("Each further pause is so many times longer"),
    increment: durationMs.optional().describe("Each further pause is longer by so much, instead of by the factor"),
    max: durationMs.prefault("1h").describe("The longest pause"),
    delays: z.array(durationMs).max(1000).optional().describe("The pauses themselves, instead; the last one repeats"),
  })
  .prefault({})
  .describe("Pauses between attempts; each is varied by a fifth so that jobs that failed together do not return together");

export const freeLimitConfig = z
  .int()
  .min(0)
  .default(20)
  .describe("How many attempts may end through nobody's fault (eviction, a lost node)");

export const freeBackoffConfig = z
  .strictObject({ initial: durationMs.prefault("10s"), max: durationMs.prefault("5m") })
  .prefault({})
  .describe("Pauses after an attempt that ended through nobody's fault, each twice the one before");

export const retryConfig = z.strictObject({
  attempts: z
    .int()
    .min(1)
    .max(1000)
    .default(3)
    .describe("How often a job may fail; a message's backoffLimit overrides it (n means n+1)"),
  backoff: backoffConfig,
  oom: z
    .strictObject({
      factor: z.number().gt(1).default(1.5).describe("The container that ran out of memory gets so many times more"),
      limit: quantity.default("4Gi").describe("Up to this; one that runs out of it at this limit is dead"),
    })
    .prefault({}),
  freeLimit: freeLimitConfig,
  freeBackoff: freeBackoffConfig,
  nonRetryableExitCodes: z
    .array(z.int().min(1).max(255))
    .default([64])
    .describe("Exit codes that mean: another attempt would end the same way"),
  classes: z
    .partialRecord(z.enum(FAILURE_CLASSES), z.enum(FAILURE_EFFECTS))
    .default({})
    .describe("Other effects of a failure class: budget, free, memory or dead"),
});

export type BackoffConfig = z.output<typeof backoffConfig>;
export type FreeBackoffConfig = z.output<typeof freeBackoffConfig>;
export type RetryConfig = z.output<typeof retryConfig>;
