import { z } from "zod";

/**
 * Where a message's bytes are: stream, sequence and store time. Sequences repeat when a stream is made anew, so a sequence alone
 * never identifies a message (rule S1: after a stream was made anew an old acknowledgement removed a new message).
 *
 * `storedAt` is nanoseconds since the epoch as decimal text, because it does not fit a double.
 */
export interface MessageSource {
  readonly stream: string;
  readonly seq: number;
  readonly storedAt: string;
}

export const messageSource = z.object({
  stream: z.string().min(1),
  seq: z.number().int().positive(),
  storedAt: z.string().regex(/^\d+$/),
});

/** One token, safe in subjects; also the id of a message that names none. */
export function sourceKey(source: MessageSource): string {
  return `${source.stream}-${source.seq}-${source.storedAt}`;
}

export function sameSource(a: MessageSource, b: MessageSource): boolean {
  return a.stream === b.stream && a.seq === b.seq && a.storedAt === b.storedAt;
}

/** What a JetStream reply subject says of the delivery that it belongs to. */
export interface DeliveryInfo {
  readonly consumer: string;
  /** How often the message was delivered, this time included. */
  readonly delivery: number;
  readonly source: MessageSource;
}

const deliveryInfo = z.object({ consumer: z.string().min(1), delivery: z.number().int().positive(), source: messageSource });

/**
 * Reads a JetStream reply subject, v1 (`$JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>`) or
 * v2, which puts domain and account hash before the stream (ADR-15; nats-server 2.15 can be switched to it). Undefined when it is neither.
 */
export function parseDelivery(subject: string): DeliveryInfo | undefined {
  const tokens = subject.split(".");
  if (tokens[0] !== "$JS" || tokens[1] !== "ACK") return undefined;
  const offset = tokens.length === 9 ? 2 : tokens.length >= 11 ? 4 : undefined;
  if (offset === undefined) return undefined;
  const parsed = deliveryInfo.safeParse({
    consumer: tokens[offset + 1],
    delivery: Number(tokens[offset + 2]),
    source: { stream: tokens[offset], seq: Number(tokens[offset + 3]), storedAt: tokens[offset + 5] },
  });
  return parsed.success ? parsed.data : undefined;
}

/** The message that a reply subject acknowledges. Undefined when it is none: annotations can be edited by anybody who may edit Jobs. */
export function parseAckSubject(subject: string): MessageSource | undefined {
  return parseDelivery(subject)?.source;
}

/** An RFC 3339 time with up to nine fractional digits (as the server prints store times) → nanoseconds since the epoch. */
export function nanosOfTimestamp(timestamp: string): string {
  const match = /^(.+?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(timestamp);
  if (match === null) throw new RangeError(`not an RFC 3339 time: ${timestamp.slice(0, 64)}`);
  const [, whole = "", fraction = "", zone = "Z"] = match;
  const seconds = BigInt(Date.parse(whole + zone)) / 1000n;
  return String(seconds * 1_000_000_000n + BigInt(fraction.padEnd(9, "0")));
}
