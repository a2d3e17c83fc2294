import type { JsMsg } from "@nats-io/jetstream";
import type { KeptMessage } from "../../libs/contract/event.ts";
import { MESSAGE_LIMITS, type OpenedMessage, type Outcome, rejected } from "../../libs/contract/message.ts";
import { MSG_ID_HEADER, messageId, openMessage } from "../../libs/contract/message-identity.ts";
import { type Instance, jobHash, messageHash } from "../../libs/contract/names.ts";
import type { MemoryLimits } from "../../libs/contract/record.ts";
import type { AttemptOf } from "../../libs/contract/record-event.ts";
import { parseRetryMessage } from "../../libs/contract/retry-message.ts";
import type { MessageSource } from "../../libs/contract/source.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { parseJobSubject } from "../../libs/contract/subjects.ts";
import { headerValues } from "../../libs/streams/jetstream-broker.ts";
import { replySubject } from "../../libs/streams/messages.ts";

/** A message as a consumer delivered it, and the four answers that the broker understands. */
export interface PulledMessage {
  readonly subject: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly data: Uint8Array;
  readonly replySubject: string;
  readonly source: MessageSource;
  /** How often it was delivered, this time included. */
  readonly deliveries: number;
  /** Acknowledges and waits for the server's word. */
  ackAck(): Promise<boolean>;
  nak(delayMs?: number): void;
  working(): void;
}

export function pulledMessage(message: JsMsg): PulledMessage {
  return {
    subject: message.subject,
    headers: headerValues(message.headers),
    data: message.data,
    replySubject: replySubject(message),
    source: { stream: message.info.stream, seq: message.seq, storedAt: String(message.timestampNanos) },
    deliveries: message.info.deliveryCount,
    ackAck: () => message.ackAck(),
    nak: (delayMs) => message.nak(delayMs),
    working: () => message.working(),
  };
}

/** The attempt that a delivered message asks for. */
export interface Delivery extends AttemptOf {
  readonly message: PulledMessage;
  readonly opened: OpenedMessage;
  readonly memory: MemoryLimits;
  /** How often it was refused while others were accepted, before it was put to sleep for that. */
  readonly refused: number;
  /** From RETRY, where only the engine publishes. */
  readonly isRetry: boolean;
  /** The message as its producer published it. */
  readonly original: Pick<KeptMessage, "subject" | "headers">;
}

/** D1: parses no more than the id. A message whose identity cannot be read is rejected without touching any record (rule D11). */
export function openDelivery(message: PulledMessage, instance: Instance, queue: string): Outcome<Delivery> {
  return message.source.stream === STREAM.retry ? openRetry(message, instance, queue) : openFresh(message, instance, queue);
}

/** N4: in JOBS every message is attempt 1 of life 1, whatever its headers say. */
function openFresh(message: PulledMessage, instance: Instance, queue: string): Outcome<Delivery> {
  const { subject, headers, data, source } = message;
  const headerBytes = sizeOfHeaders(headers);
  if (headerBytes > MESSAGE_LIMITS.headerBytes) {
    return rejected(
      "HEADERS_TOO_LARGE",
      "",
      `the headers have ${headerBytes} bytes; at most ${MESSAGE_LIMITS.headerBytes} are allowed`,
    );
  }
  const opened = openMessage(data, Object.entries(headers));
  if (opened.kind === "rejected") return opened;
  const id = messageId(opened.value, headers[MSG_ID_HEADER]?.[0] ?? "", source);
  if (id.kind === "rejected") return id;
  return {
    kind: "ok",
    value: {
      message,
      opened: opened.value,
      id: id.value,
      hash: jobHash(instance, queue, id.value),
      queue,
      type: parseJobSubject(subject)?.type ?? "",
      messageHash: messageHash(data),
      source,
      attempt: 1,
      life: 1,
      traceparent: opened.value.traceparent,
      memory: {},
      refused: 0,
      isRetry: false,
      original: { subject, headers },
    },
  };
}

function openRetry(message: PulledMessage, instance: Instance, queue: string): Outcome<Delivery> {
  const retry = parseRetryMessage(message.subject, message.headers);
  if (retry === undefined || retry.hash !== jobHash(instance, queue, retry.id)) {
    return rejected("RETRY_INVALID", "", "was not written by the engine; nothing else may publish to retry.>");
  }
  const opened = openMessage(message.data, Object.entries(retry.original.headers));
  if (opened.kind === "rejected") return opened;
  return {
    kind: "ok",
    value: {
      ...retry,
      message,
      opened: opened.value,
      traceparent: opened.value.traceparent,
      source: message.source,
      isRetry: true,
    },
  };
}

function sizeOfHeaders(headers: PulledMessage["headers"]): number {
  let bytes = 0;
  for (const [name, values] of Object.entries(headers)) {
    for (const value of values) bytes += name.length + value.length + 4;
  }
  return bytes;
}
