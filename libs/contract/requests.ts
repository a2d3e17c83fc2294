import { z } from "zod";
import { EVENT_KINDS } from "./event.ts";
import { FAILURE_CLASSES } from "./failure-class.ts";
import { messageIdText } from "./message.ts";
import { QUEUE_PATTERN } from "./names.ts";
import { JOB_STATES, jobRecord } from "./record.ts";

/**
 * What people may ask of a running installation: a NATS request under a subject of its own for each operation, so that NATS permissions are
 * the access control. JSON in, JSON out. Monitors answer, one of them each request.
 */
export const REQUEST_OPS = ["cancel", "rerun", "list", "get", "logs", "queues", "pause", "resume"] as const;
export type RequestOp = (typeof REQUEST_OPS)[number];

export const requestSubject = (op: RequestOp): string => `millrace.request.${op}`;

/** Every monitor serves; the broker gives each request to one of them. */
export const REQUEST_GROUP = "millrace-monitor";

export const REQUEST_BYTES_MAX = 16 * 1024;

/** How long a monitor works on a request before it says that it could not. A client waits somewhat longer. */
export const REQUEST_TIMEOUT_MS = 15_000;

/** Part of the product's contract, like every code: scripts match on them. */
export const REFUSAL_CODES = [
  "REQUEST_INVALID",
  "ID_UNKNOWN",
  "ID_AMBIGUOUS",
  "QUEUE_UNKNOWN",
  "QUEUE_REQUIRED",
  "ATTEMPT_UNKNOWN",
  "NOT_ALLOWED_NOW",
  "BUSY",
  "TIMEOUT",
  "ANSWER_TOO_LARGE",
  "INTERNAL",
] as const;
export type RefusalCode = (typeof REFUSAL_CODES)[number];

export const LIST_LIMIT = { default: 50, max: 1000 } as const;

const queue = z.string().regex(QUEUE_PATTERN, "must be a queue's name");
/** Who asks, as they say themselves: NATS does not tell. It is shown, never trusted. */
const by = z.string().min(1).max(128).optional();
const time = z.iso.datetime();
const target = { id: messageIdText, queue: queue.optional() };

export const explanation = z.object({ why: z.string(), todo: z.string() });
export type Explanation = z.output<typeof explanation>;

/** One line of a job's timeline. */
export const timelineEntry = z.object({
  kind: z.enum(EVENT_KINDS),
  at: z.string(),
  attempt: z.number(),
  node: z.string().optional(),
  class: z.string().optional(),
  exitCode: z.number().optional(),
  reason: z.string().optional(),
  notBefore: z.string().optional(),
});
export type TimelineEntry = z.output<typeof timelineEntry>;

/** A record in a list: what fits on a line. */
export const jobRow = z.object({
  id: z.string(),
  hash: z.string(),
  queue: z.string(),
  state: z.enum(JOB_STATES),
  attempt: z.number(),
  class: z.enum(FAILURE_CLASSES).optional(),
  createdAt: z.string(),
  updatedAt: z.string(),
  reason: z.string().optional(),
});
export type JobRow = z.output<typeof jobRow>;

/** P4: the broker's own pause of a queue's consumers. Without `until` it lasts until somebody resumes it. */
export const pause = z.object({ until: z.string().optional(), reason: z.string().optional(), by: z.string().optional() });
export type Pause = z.output<typeof pause>;

export const queueRow = z.object({
  queue: z.string(),
  /** False: it was removed from the configuration, and its consumers are still there. */
  configured: z.boolean(),
  waiting: z.number(),
  running: z.number(),
  slots: z.number(),
  retrySlots: z.number(),
  /** Retries and delayed starts that wait for their time; absent when there were too many to be counted in time. */
  sleeping: z.number().optional(),
  /** Entries in the DLQ, rejected messages included. */
  dead: z.number(),
  paused: pause.optional(),
});
export type QueueRow = z.output<typeof queueRow>;

/** `at` is the container runtime's time stamp; the kept tail of an attempt has none. */
export const logLine = z.object({ at: z.string().optional(), text: z.string() });
export type LogLine = z.output<typeof logLine>;

const ok = { ok: z.literal(true) };

/** Requests refuse unknown fields; answers let them pass, so that an older client understands a newer monitor. */
export const REQUESTS = {
  cancel: {
    request: z.strictObject({ ...target, by }),
    /** `cancelling`: the attempt is being stopped; `already`: it was cancelled before. */
    answer: z.object({ ...ok, kind: z.enum(["cancelled", "cancelling", "already"]), record: jobRecord }),
  },
  rerun: {
    request: z.strictObject({ ...target, by }),
    answer: z.object({ ...ok, kind: z.literal("scheduled"), record: jobRecord }),
  },
  list: {
    request: z.strictObject({
      queue: queue.optional(),
      state: z.enum(JOB_STATES).optional(),
      class: z.enum(FAILURE_CLASSES).optional(),
      /** Only jobs whose record changed at or after this. */
      since: time.optional(),
      limit: z.int().min(1).max(LIST_LIMIT.max).default(LIST_LIMIT.default),
    }),
    /** Latest change first. `truncated`: there are more, or there may be. */
    answer: z.object({ ...ok, jobs: z.array(jobRow), truncated: z.boolean() }),
  },
  get: {
    request: z.strictObject(target),
    answer: z.object({
      ...ok,
      id: z.string(),
      hash: z.string(),
      queue: z.string(),
      /** Absent: the message waits in JOBS and no Job of it was seen yet. */
      record: jobRecord.optional(),
      timeline: z.array(timelineEntry),
      explanations: z.array(explanation),
    }),
  },
  logs: {
    request: z.strictObject({
      ...target,
      attempt: z.int().min(1).optional(),
      /** Only lines at or after this; nanoseconds are kept. */
      since: z.iso.datetime({ offset: true }).optional(),
    }),
    answer: z.object({
      ...ok,
      id: z.string(),
      queue: z.string(),
      attempt: z.number(),
      /** More may come. */
      live: z.boolean(),
      /** `kept`: the tail that outlives the pod. */
      from: z.enum(["pod", "kept", "none"]),
      lines: z.array(logLine),
      /** Why there are no lines, or not all. */
      note: z.string().optional(),
    }),
  },
  queues: {
    request: z.strictObject({}),
    answer: z.object({ ...ok, queues: z.array(queueRow) }),
  },
  pause: {
    request: z.strictObject({
      queue,
      forMs: z
        .int()
        .min(1_000)
        .max(10 * 365 * 86_400_000)
        .optional(),
      reason: z.string().min(1).max(256).optional(),
      by,
    }),
    answer: z.object({ ...ok, queue: z.string(), paused: pause }),
  },
  resume: {
    request: z.strictObject({ queue, by }),
    answer: z.object({ ...ok, queue: z.string(), wasPaused: z.boolean() }),
  },
} as const;

export const refusal = z.object({ ok: z.literal(false), code: z.string(), message: z.string() });
export type Refusal = z.output<typeof refusal>;

/** As the client writes it: defaults may be left out. */
export type RequestOf<Op extends RequestOp> = z.input<(typeof REQUESTS)[Op]["request"]>;
/** As the server reads it. */
export type ReceivedRequest<Op extends RequestOp> = z.output<(typeof REQUESTS)[Op]["request"]>;
export type AnswerOf<Op extends RequestOp> = z.output<(typeof REQUESTS)[Op]["answer"]>;
