import { asciiJson } from "./ascii-json.ts";
import type { KeptMessage } from "./event.ts";
import type { Rejection } from "./message.ts";
import { type AttemptRecord, currentAttempt, type JobRecord } from "./record.ts";
import { originalHeaders } from "./retry-message.ts";
import type { MessageSource } from "./source.ts";
import { sourceKey } from "./source.ts";

/**
 * Headers of a DLQ entry; its body is the message's raw bytes. Every value is ASCII JSON, so that nothing from outside can break a header
 * line, and no `Nats-*` header of the producer is carried on as a header (rule N5).
 */
export const DLQ_HEADER = {
  id: "Millrace-Id",
  queue: "Millrace-Queue",
  code: "Millrace-Code",
  reason: "Millrace-Reason",
  path: "Millrace-Path",
  class: "Millrace-Class",
  attempt: "Millrace-Attempt",
  exitCode: "Millrace-Exit-Code",
  node: "Millrace-Node",
  life: "Millrace-Life",
  attempts: "Millrace-Attempts",
  firstError: "Millrace-First-Error",
  lastError: "Millrace-Last-Error",
  trace: "Millrace-Trace",
  /** The last lines of the failed attempt; more of them are in the bucket `millrace_logs`. */
  logTail: "Millrace-Log-Tail",
  subject: "Millrace-Subject",
  message: "Millrace-Message",
  headers: "Millrace-Headers",
  /** Of a worker's message: how often it was delivered in all. */
  deliveries: "Millrace-Deliveries",
} as const;

export type OriginalMessage = Pick<KeptMessage, "subject" | "headers">;

const LOG_TAIL_CHARACTERS = 2_000;
export const REASON_CHARACTERS = 2_000;
/** W3C's is 55. */
const TRACE_CHARACTERS = 128;

/** NATS refuses more than 64 KiB of headers, and a character may take six of JSON's. What is needed least goes first. */
const HEADERS_BYTES = 60 * 1024;
const DISPENSABLE = [DLQ_HEADER.logTail, DLQ_HEADER.headers, DLQ_HEADER.attempts];

/** The entries that NATS takes, of which what is needed least goes first. */
export function fitting(headers: Readonly<Record<string, string>>): Record<string, string> {
  let kept = Object.entries(headers);
  for (const dispensable of DISPENSABLE) {
    if (kept.reduce((bytes, [name, value]) => bytes + name.length + value.length + 4, 0) <= HEADERS_BYTES) break;
    kept = kept.filter(([name]) => name !== dispensable);
  }
  return Object.fromEntries(kept);
}

export function carried(original: OriginalMessage): Record<string, string> {
  const { subject, headers } = originalHeaders(original);
  return { [DLQ_HEADER.subject]: subject, [DLQ_HEADER.headers]: headers };
}

export function rejectionHeaders(options: {
  readonly rejection: Rejection;
  readonly queue: string;
  readonly id: string | undefined;
  readonly source: MessageSource;
  readonly original: OriginalMessage;
}): Record<string, string> {
  const { rejection } = options;
  const reason = rejection.path === "" ? rejection.reason : `${rejection.path}: ${rejection.reason}`;
  return fitting({
    ...carried(options.original),
    [DLQ_HEADER.queue]: asciiJson(options.queue),
    ...(options.id === undefined ? {} : { [DLQ_HEADER.id]: asciiJson(options.id) }),
    [DLQ_HEADER.code]: rejection.code,
    [DLQ_HEADER.path]: asciiJson(rejection.path),
    [DLQ_HEADER.reason]: asciiJson(reason.slice(0, REASON_CHARACTERS)),
    [DLQ_HEADER.message]: asciiJson(sourceKey(options.source)),
  });
}

/** Everything that is needed to understand the failure and to run the job again. `logTail` is the end of the last attempt's log. */
export function deadJobHeaders(
  record: JobRecord,
  original: OriginalMessage,
  logTail: string | undefined,
): Record<string, string> {
  const attempt = currentAttempt(record);
  const first = record.attempts.find(({ n, class: failed }) => n >= record.budgetFrom && failed !== undefined);
  const trace = record.traceparent ?? original.headers["traceparent"]?.[0];
  return fitting({
    ...carried(original),
    [DLQ_HEADER.queue]: asciiJson(record.queue),
    [DLQ_HEADER.id]: asciiJson(record.id),
    [DLQ_HEADER.code]: "JOB_FAILED",
    [DLQ_HEADER.reason]: asciiJson(record.reason ?? ""),
    [DLQ_HEADER.attempt]: String(record.attempt),
    [DLQ_HEADER.life]: String(record.life),
    [DLQ_HEADER.attempts]: asciiJson(record.attempts),
    ...(first === undefined ? {} : { [DLQ_HEADER.firstError]: asciiJson(errorOf(first)) }),
    ...(attempt === undefined ? {} : { [DLQ_HEADER.lastError]: asciiJson(errorOf(attempt)) }),
    ...(record.source === undefined ? {} : { [DLQ_HEADER.message]: asciiJson(sourceKey(record.source)) }),
    ...(attempt?.class === undefined ? {} : { [DLQ_HEADER.class]: attempt.class }),
    ...(attempt?.exitCode === undefined ? {} : { [DLQ_HEADER.exitCode]: String(attempt.exitCode) }),
    ...(attempt?.node === undefined ? {} : { [DLQ_HEADER.node]: asciiJson(attempt.node) }),
    ...(trace === undefined ? {} : { [DLQ_HEADER.trace]: asciiJson(trace.slice(0, TRACE_CHARACTERS)) }),
    ...(logTail === undefined ? {} : { [DLQ_HEADER.logTail]: asciiJson(logTail.slice(-LOG_TAIL_CHARACTERS)) }),
  });
}

function errorOf(attempt: AttemptRecord): string {
  return `attempt ${attempt.n}: ${attempt.class ?? ""}: ${attempt.reason ?? ""}`;
}
