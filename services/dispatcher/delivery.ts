import type { JsMsg } from "@nats-io/jetstream";
import { MESSAGE_LIMITS, type OpenedMessage, type Outcome, rejected } from "../../libs/contract/message.ts";
import { MSG_ID_HEADER, messageId, openMessage } from "../../libs/contract/message-identity.ts";
import { type Instance, jobHash, messageHash } from "../../libs/contract/names.ts";
import type { MessageSource } from "../../libs/contract/source.ts";
import { parseJobSubject } from "../../libs/contract/subjects.ts";

/** A message that was delivered to a dispatcher, with its identity. */
export interface Delivery {
  readonly message: JsMsg;
  readonly queue: string;
  readonly type: string;
  readonly source: MessageSource;
  readonly id: string;
  readonly hash: string;
  readonly messageHash: string;
  readonly opened: OpenedMessage;
}

export function sourceOf(message: JsMsg): MessageSource {
  return { stream: message.info.stream, seq: message.seq, storedAt: String(message.timestampNanos) };
}

/** D1: parses no more than the id. A message whose identity cannot be read is rejected without touching any record (rule D11). */
export function openDelivery(message: JsMsg, instance: Instance, queue: string): Outcome<Delivery> {
  const headerBytes = sizeOfHeaders(message);
  if (headerBytes > MESSAGE_LIMITS.headerBytes) {
    return rejected(
      "HEADERS_TOO_LARGE",
      "",
      `the headers have ${headerBytes} bytes; at most ${MESSAGE_LIMITS.headerBytes} are allowed`,
    );
  }
  const opened = openMessage(message.data, message.headers ?? []);
  if (opened.kind === "rejected") return opened;
  const source = sourceOf(message);
  const id = messageId(opened.value, message.headers?.get(MSG_ID_HEADER) ?? "", source);
  if (id.kind === "rejected") return id;
  return {
    kind: "ok",
    value: {
      message,
      queue,
      type: parseJobSubject(message.subject)?.type ?? "",
      source,
      id: id.value,
      hash: jobHash(instance, queue, id.value),
      messageHash: messageHash(message.data),
      opened: opened.value,
    },
  };
}

function sizeOfHeaders(message: JsMsg): number {
  let bytes = 0;
  for (const [name, values] of message.headers ?? []) {
    for (const value of values) bytes += name.length + value.length + 4;
  }
  return bytes;
}
