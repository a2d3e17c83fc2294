import type { OpenedBody, Outcome } from "./message.ts";
import { accepted, ID_PROBLEM, messageIdText, rejected } from "./message.ts";
import type { MessageSource } from "./source.ts";
import { sourceKey } from "./source.ts";

/** The header that de-duplicates publishes is also the id of a message whose body names none. */
export const MSG_ID_HEADER = "Nats-Msg-Id";

/** id = body.id ?? header Nats-Msg-Id ?? the message's source (design §4.1). */
export function messageId(opened: OpenedBody, msgIdHeader: string, source: MessageSource): Outcome<string> {
  if (opened.id !== undefined) return accepted(opened.id);
  if (msgIdHeader === "") return accepted(sourceKey(source));
  return messageIdText.safeParse(msgIdHeader).success ? accepted(msgIdHeader) : rejected("ID_INVALID", MSG_ID_HEADER, ID_PROBLEM);
}
