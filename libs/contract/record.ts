import { z } from "zod";
import { FAILURE_CLASSES } from "./failure-class.ts";
import { messageSource } from "./source.ts";

export const JOB_STATES = ["running", "retrying", "succeeded", "dead", "cancelled"] as const;
export type JobState = (typeof JOB_STATES)[number];

/** State and queue stand in headers too, so that sweeps and lists read headers only. */
export const STATE_HEADER = "Millrace-State";
export const QUEUE_HEADER = "Millrace-Queue";

/** Attempts beyond the last ten are counted, not kept. */
export const ATTEMPTS_KEPT = 10;

const timestamp = z.iso.datetime();

/** Memory limits by container, where an attempt gets more than its job asked for. */
const memoryLimits = z.record(z.string(), z.string());
export type MemoryLimits = Readonly<z.output<typeof memoryLimits>>;

export const attemptRecord = z.object({
  n: z.int().positive(),
  /** Of its Job; absent when the attempt was refused before there was one. */
  uid: z.string().optional(),
  /** The message that it was made of, so that its late redelivery is told from a duplicate. */
  source: z.string().optional(),
  node: z.string().optional(),
  startedAt: timestamp.optional(),
  endedAt: timestamp.optional(),
  outcome: z.enum(["succeeded", "failed", "cancelled"]).optional(),
  class: z.enum(FAILURE_CLASSES).optional(),
  exitCode: z.int().optional(),
  reason: z.string().max(300).optional(),
  memory: memoryLimits.optional(),
});

export const jobReference = z.object({ namespace: z.string(), name: z.string(), uid: z.string() });

/**
 * What is known about one job id on one queue: KV bucket `millrace_jobs`, key = hash. It holds no body and no logs.
 * Only a compare-and-swap on the KV revision moves it, and only along `transition`. Fields that are not known are dropped, so that during an
 * upgrade an older service can read what a newer one wrote.
 */
export const jobRecord = z.object({
  id: z.string(),
  hash: z.string(),
  queue: z.string(),
  type: z.string(),
  state: z.enum(JOB_STATES),
  attempt: z.int().nonnegative(),
  /** One publish, replay or rerun; its retry budget counts from `budgetFrom`. */
  life: z.int().positive(),
  budgetFrom: z.int().positive(),
  /** Empty on a tombstone: a cancel that came before any message was pulled. The first message gives it its hash and source. */
  messageHash: z.string(),
  source: messageSource.optional(),
  job: jobReference.optional(),
  attempts: z.array(attemptRecord).max(ATTEMPTS_KEPT),
  /**
   * Of this life: attempts that cost nothing but count towards `freeLimit`, attempts that count nowhere because their queue was blocked, and how
   * often the API server refused this job while it accepted others.
   */
  counts: z
    .object({
      free: z.int().min(0).default(0),
      blocked: z.int().min(0).default(0),
      refused: z.int().min(0).default(0),
    })
    .prefault({}),
  /** What a retrying record awaits. */
  next: z.object({ attempt: z.int().positive(), memory: memoryLimits.optional(), notBefore: timestamp }).optional(),
  /** The `budgetFrom` of the life before: its `created` event has the bytes until this life's first attempt is created. */
  formerLifeFrom: z.int().positive().optional(),
  /** Of this life's messages: what its spans, events and log lines belong to. */
  traceparent: z.string().max(64).optional().catch(undefined),
  createdAt: timestamp,
  updatedAt: timestamp,
  reason: z.string().max(500).optional(),
  result: z.string().max(1024).optional(),
});

export type AttemptRecord = z.output<typeof attemptRecord>;
export type JobReference = z.output<typeof jobReference>;
export type JobRecord = z.output<typeof jobRecord>;

export function isTerminal(state: JobState): boolean {
  return state === "succeeded" || state === "dead" || state === "cancelled";
}

/** The attempt that the record's current state speaks of. */
export function currentAttempt(record: JobRecord): AttemptRecord | undefined {
  return record.attempts.find((attempt) => attempt.n === record.attempt);
}

/** As a field, absent when there is nothing in it. */
export function memoryOf(memory: MemoryLimits | undefined): { readonly memory?: MemoryLimits } {
  return memory === undefined || Object.keys(memory).length === 0 ? {} : { memory };
}

export function isTimestamp(text: string): boolean {
  return timestamp.safeParse(text).success;
}
