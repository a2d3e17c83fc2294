import { z } from "zod";
import { asciiJson, jsonOf } from "./ascii-json.ts";
import { originalHeaders } from "./retry-message.ts";
import { type MessageSource, sourceKey } from "./source.ts";
import { STREAM } from "./streams.ts";
import { EFFECT_OF_WORK_CLASS, type WorkEnd } from "./work-retry.ts";
import { parseWorkRetrySubject, workHash } from "./work-subjects.ts";

/** Headers of a message in WORK_RETRY. Believed only there (rule N4): a producer may write anything into WORK. Each value is ASCII JSON. */
export const WORK_HEADER = {
  id: "Millrace-Id",
  origin: "Millrace-Origin",
  failures: "Millrace-Failures",
  free: "Millrace-Free",
  deliveries: "Millrace-Deliveries",
  subject: "Millrace-Subject",
  headers: "Millrace-Headers",
  firstError: "Millrace-First-Error",
  lastError: "Millrace-Last-Error",
  predecessor: "Millrace-Predecessor",
} as const;

/** How often a message was tried, and how that ended. */
export interface WorkCounts {
  /** Attempts that burnt its budget. */
  readonly failures: number;
  /** Attempts that ended through nobody's fault. */
  readonly free: number;
}

/** A worker's message as its producer published it, with what became of it so far. */
export interface WorkItem extends WorkCounts {
  readonly worker: string;
  readonly id: string;
  /** Where it was stored first: its identity across its retries. */
  readonly origin: string;
  readonly hash: string;
  readonly subject: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  /** How often it was delivered before it was stored where it is now. */
  readonly deliveries: number;
  readonly firstError: string | undefined;
  readonly lastError: string | undefined;
  /**
   * The reply subject of the delivery that ended in this retry. Its worker may have died before it acknowledged that one: whoever takes the retry
   * removes it first, so that the same attempt is never made twice.
   */
  readonly predecessor: string | undefined;
}

/** How a delivery ended that is followed by a retry or a DLQ entry. */
export interface EndedDelivery {
  readonly counts: WorkCounts;
  readonly ended: WorkEnd;
  /** Number and reply subject of the delivery. */
  readonly delivery: number;
  readonly ack: string;
}

/** What a stream says of a message. */
export interface WorkMessage extends MessageSource {
  readonly subject: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
}

/** NATS headers are compared as written; the id may be as long as anybody likes, and is a log field and a header of ours. */
const ID_CHARACTERS = 256;
const ERROR_CHARACTERS = 1_000;

const count = z.int().min(0);
const envelope = z.object({
  id: z.string(),
  origin: z.string().min(1).max(200),
  failures: count,
  free: count,
  deliveries: count,
  subject: z.string(),
  headers: z.record(z.string(), z.array(z.string())),
  firstError: z.string().optional(),
  lastError: z.string().optional(),
  predecessor: z.string().optional(),
});

/** Undefined for a message in WORK_RETRY that the SDK did not write. */
export function workItem(worker: string, message: WorkMessage): WorkItem | undefined {
  return message.stream === STREAM.workRetry ? retriedItem(worker, message) : asFreshItem(worker, message);
}

/** What is known of a message after one of its attempts ended. */
export function afterEnd(item: WorkItem, { counts, ended, delivery, ack }: EndedDelivery): WorkItem {
  const error = `attempt ${endedAttempt({ counts, ended })}: ${ended.class}: ${ended.reason}`;
  return {
    ...item,
    ...counts,
    deliveries: item.deliveries + delivery,
    firstError: item.firstError ?? error,
    lastError: error,
    predecessor: ack,
  };
}

/** The attempt that ended, when its end is counted already as far as it counts. */
export function endedAttempt({ counts, ended }: Pick<EndedDelivery, "counts" | "ended">): number {
  return nextAttempt(counts) - (EFFECT_OF_WORK_CLASS[ended.class] === "dead" ? 0 : 1);
}

/** The attempt that is made of it next, from 1. */
export const nextAttempt = ({ failures, free }: WorkCounts): number => failures + free + 1;

export function workRetryHeaders(item: WorkItem): Record<string, string> {
  const original = originalHeaders(item);
  return {
    [WORK_HEADER.id]: asciiJson(item.id),
    [WORK_HEADER.origin]: asciiJson(item.origin),
    [WORK_HEADER.failures]: asciiJson(item.failures),
    [WORK_HEADER.free]: asciiJson(item.free),
    [WORK_HEADER.deliveries]: asciiJson(item.deliveries),
    [WORK_HEADER.subject]: original.subject,
    [WORK_HEADER.headers]: original.headers,
    ...(item.firstError === undefined ? {} : { [WORK_HEADER.firstError]: asciiJson(item.firstError.slice(0, ERROR_CHARACTERS)) }),
    ...(item.lastError === undefined ? {} : { [WORK_HEADER.lastError]: asciiJson(item.lastError.slice(0, ERROR_CHARACTERS)) }),
    ...(item.predecessor === undefined ? {} : { [WORK_HEADER.predecessor]: asciiJson(item.predecessor) }),
  };
}

/** A message as it stands, whatever its headers say: for the DLQ entry of what nobody can read. */
export function asFreshItem(worker: string, message: WorkMessage): WorkItem {
  const origin = sourceKey(message);
  const given = message.headers["Nats-Msg-Id"]?.[0] ?? "";
  return {
    worker,
    id: given === "" || given.length > ID_CHARACTERS ? origin : given,
    origin,
    hash: workHash(origin),
    subject: message.subject,
    headers: message.headers,
    failures: 0,
    free: 0,
    deliveries: 0,
    firstError: undefined,
    lastError: undefined,
    predecessor: undefined,
  };
}

function retriedItem(worker: string, message: WorkMessage): WorkItem | undefined {
  const named = parseWorkRetrySubject(message.subject);
  const parsed = envelope.safeParse(
    Object.fromEntries(Object.entries(WORK_HEADER).map(([field, name]) => [field, jsonOf(message.headers[name]?.[0])])),
  );
  if (named === undefined || named.worker !== worker || !parsed.success) return undefined;
  const { data } = parsed;
  const hash = workHash(data.origin);
  if (named.hash !== hash || named.attempt !== nextAttempt(data)) return undefined;
  const { firstError, lastError, predecessor } = data;
  return { ...data, worker, hash, firstError, lastError, predecessor };
}
