import type { Rejection } from "./message.ts";
import type { JobRecord } from "./record.ts";
import { currentAttempt } from "./record.ts";
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
  subject: "Millrace-Subject",
  message: "Millrace-Message",
  headers: "Millrace-Headers",
} as const;

export interface OriginalMessage {
  readonly subject: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
}

/** JSON with every non-ASCII character escaped: NATS headers are read as ASCII lines. */
export function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The producer's headers are carried whole unless they are larger than any real producer's. */
const CARRIED_HEADER_BYTES = 16 * 1024;

function originalHeaders(original: OriginalMessage): Record<string, string> {
  const headers = asciiJson(original.headers);
  return {
    [DLQ_HEADER.subject]: asciiJson(original.subject),
    [DLQ_HEADER.headers]: headers.length <= CARRIED_HEADER_BYTES * 2 ? headers : asciiJson({}),
  };
}

export function rejectionHeaders(options: {
  readonly rejection: Rejection;
  readonly queue: string;
  readonly id: string | undefined;
  readonly source: MessageSource;
  readonly original: OriginalMessage;
}): Record<string, string> {
  const { rejection } = options;
  return {
    ...originalHeaders(options.original),
    [DLQ_HEADER.queue]: asciiJson(options.queue),
    ...(options.id === undefined ? {} : { [DLQ_HEADER.id]: asciiJson(options.id) }),
    [DLQ_HEADER.code]: rejection.code,
    [DLQ_HEADER.path]: asciiJson(rejection.path),
    [DLQ_HEADER.reason]: asciiJson(rejection.path === "" ? rejection.reason : `${rejection.path}: ${rejection.reason}`),
    [DLQ_HEADER.message]: asciiJson(sourceKey(options.source)),
  };
}

export function deadJobHeaders(record: JobRecord, original: OriginalMessage): Record<string, string> {
  const attempt = currentAttempt(record);
  return {
    ...originalHeaders(original),
    [DLQ_HEADER.queue]: asciiJson(record.queue),
    [DLQ_HEADER.id]: asciiJson(record.id),
    [DLQ_HEADER.code]: "JOB_FAILED",
    [DLQ_HEADER.reason]: asciiJson(record.reason ?? ""),
    [DLQ_HEADER.attempt]: String(record.attempt),
    [DLQ_HEADER.message]: asciiJson(sourceKey(record.source)),
    ...(attempt?.class === undefined ? {} : { [DLQ_HEADER.class]: attempt.class }),
    ...(attempt?.exitCode === undefined ? {} : { [DLQ_HEADER.exitCode]: String(attempt.exitCode) }),
    ...(attempt?.node === undefined ? {} : { [DLQ_HEADER.node]: asciiJson(attempt.node) }),
  };
}
