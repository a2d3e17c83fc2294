import { z } from "zod";
import { asciiJson, jsonOf } from "./ascii-json.ts";
import type { KeptMessage } from "./event.ts";
import type { JobRecord, MemoryLimits } from "./record.ts";
import { parseRetrySubject } from "./subjects.ts";

/**
 * Headers of a message in RETRY (rule N4): believed only there, because only the engine may publish there. Each value is one line of ASCII JSON,
 * so that nothing from outside can break a header line.
 */
export const RETRY_HEADER = {
  id: "Millrace-Id",
  attempt: "Millrace-Attempt",
  life: "Millrace-Life",
  memory: "Millrace-Memory",
  type: "Millrace-Type",
  messageHash: "Millrace-Message-Hash",
  refused: "Millrace-Refused",
  subject: "Millrace-Subject",
  headers: "Millrace-Headers",
} as const;

/** One attempt that is to be made: which, of what, and the message as its producer published it. */
export interface RetryMessage {
  readonly id: string;
  readonly hash: string;
  readonly queue: string;
  readonly type: string;
  readonly attempt: number;
  readonly life: number;
  readonly memory: MemoryLimits;
  readonly messageHash: string;
  readonly refused: number;
  readonly original: Pick<KeptMessage, "subject" | "headers">;
}

/** NATS allows 64 KiB of headers; a producer's own are refused above 16 KiB, which JSON may make longer. */
const CARRIED_HEADER_CHARACTERS = 40 * 1024;

/** The producer's subject and headers, carried whole unless JSON makes them larger than any real producer's. */
export function originalHeaders(original: Pick<KeptMessage, "subject" | "headers">): { subject: string; headers: string } {
  const headers = asciiJson(original.headers);
  return { subject: asciiJson(original.subject), headers: headers.length <= CARRIED_HEADER_CHARACTERS ? headers : "{}" };
}

export function retryHeaders(
  record: JobRecord,
  next: NonNullable<JobRecord["next"]>,
  message: KeptMessage,
): Record<string, string> {
  const original = originalHeaders(message);
  return {
    [RETRY_HEADER.id]: asciiJson(record.id),
    [RETRY_HEADER.attempt]: asciiJson(next.attempt),
    [RETRY_HEADER.life]: asciiJson(record.life),
    [RETRY_HEADER.memory]: asciiJson(next.memory ?? {}),
    [RETRY_HEADER.type]: asciiJson(record.type),
    [RETRY_HEADER.messageHash]: asciiJson(record.messageHash),
    [RETRY_HEADER.refused]: asciiJson(record.counts.refused),
    [RETRY_HEADER.subject]: original.subject,
    [RETRY_HEADER.headers]: original.headers,
  };
}

const envelope = z.object({
  id: z.string(),
  attempt: z.int().positive(),
  life: z.int().positive(),
  memory: z.record(z.string(), z.string()),
  type: z.string(),
  messageHash: z.string(),
  refused: z.int().min(0),
  subject: z.string(),
  headers: z.record(z.string(), z.array(z.string())),
});

/** Undefined when it is not a due retry that the engine wrote. */
export function parseRetryMessage(
  subject: string,
  headers: Readonly<Record<string, readonly string[]>>,
): RetryMessage | undefined {
  const named = parseRetrySubject(subject);
  const parsed = envelope.safeParse(
    Object.fromEntries(Object.entries(RETRY_HEADER).map(([field, name]) => [field, jsonOf(headers[name]?.[0])])),
  );
  if (named === undefined || !parsed.success || parsed.data.attempt !== named.attempt) return undefined;
  const { subject: original, headers: originals, ...facts } = parsed.data;
  return { ...facts, hash: named.hash, queue: named.queue, original: { subject: original, headers: originals } };
}
