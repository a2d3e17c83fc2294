import { z } from "zod";
import { type CloudEvent, cloudEvent, headerValue, type MessageHeaders } from "./cloud-event.ts";
import { parseStrictJson } from "./json.ts";
import type { OpenedMessage, Outcome } from "./message.ts";
import { accepted, ID_PROBLEM, MESSAGE_LIMITS, messageIdText, rejected } from "./message.ts";
import type { MessageSource } from "./source.ts";
import { sourceKey } from "./source.ts";
import { validTraceparent, validTracestate } from "./traceparent.ts";

/** The header that de-duplicates publishes is also the id of a message whose body names none. */
export const MSG_ID_HEADER = "Nats-Msg-Id";

const object = z.record(z.string(), z.unknown());

/** D1: reads no more than identity and envelope. The limit counts the bytes of the whole body, envelope included. */
export function openMessage(
  body: Uint8Array,
  headers: MessageHeaders = [],
  bodyLimitBytes: number = MESSAGE_LIMITS.bodyBytes,
): Outcome<OpenedMessage> {
  if (body.length > bodyLimitBytes) {
    return rejected("BODY_TOO_LARGE", "", `the body has ${body.length} bytes; at most ${bodyLimitBytes} are allowed`);
  }
  const json = parseStrictJson(body, MESSAGE_LIMITS.depth);
  if (json.kind === "invalid") return rejected("BODY_INVALID", "", json.problem);
  const outer = object.safeParse(json.value);
  if (!outer.success) return rejected("BODY_INVALID", "", "the body must be a JSON object");
  const event = cloudEvent(outer.data, headers);
  if (event?.kind === "rejected") return event;
  const message = event === undefined ? outer : object.safeParse(event.value.data);
  if (!message.success) return rejected("CLOUD_EVENT_INVALID", "data", "must be a job message, a JSON object");
  const named = messageIdText.optional().safeParse(message.data["id"]);
  if (!named.success) return rejected("ID_INVALID", "id", ID_PROBLEM);
  return accepted({
    id: named.data,
    eventIdentity: event?.value.identity,
    ...traceOf(headers, event?.value),
    value: message.data,
  });
}

/** The header before the extension: it is the nearer hop's. */
function traceOf(headers: MessageHeaders, event: CloudEvent | undefined): Pick<OpenedMessage, "traceparent" | "tracestate"> {
  const header = validTraceparent(headerValue(headers, "traceparent"));
  const traceparent = header ?? validTraceparent(event?.traceparent);
  const tracestate = header === undefined ? event?.tracestate : headerValue(headers, "tracestate");
  return { traceparent, tracestate: traceparent === undefined ? undefined : validTracestate(tracestate) };
}

/** id = the job message's ?? header Nats-Msg-Id ?? the CloudEvent's source and id ?? the message's source (design §4.1). */
export function messageId(
  opened: Pick<OpenedMessage, "id" | "eventIdentity">,
  msgIdHeader: string,
  source: MessageSource,
): Outcome<string> {
  if (opened.id !== undefined) return accepted(opened.id);
  if (msgIdHeader !== "") return usable(msgIdHeader, MSG_ID_HEADER, ID_PROBLEM);
  if (opened.eventIdentity === undefined) return accepted(sourceKey(source));
  return usable(opened.eventIdentity, "source", `source and id of the event together ${ID_PROBLEM}`);
}

function usable(id: string, path: string, problem: string): Outcome<string> {
  return messageIdText.safeParse(id).success ? accepted(id) : rejected("ID_INVALID", path, problem);
}
