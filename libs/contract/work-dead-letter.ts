import { asciiJson } from "./ascii-json.ts";
import { carried, DLQ_HEADER, fitting, REASON_CHARACTERS } from "./dead-letter.ts";
import { validTraceparent } from "./traceparent.ts";
import { afterEnd, type EndedDelivery, endedAttempt, type WorkItem } from "./work-message.ts";

/** Why a worker gave a message up: its attempts failed, or it can never be handled. */
export const WORK_DEAD_CODES = ["WORK_FAILED", "WORK_INVALID"] as const;

/**
 * Headers of the DLQ entry of a worker's message; its body is the message's raw bytes. What seed 002 keeps as `subject`, `data` and
 * `num_delivered` is here `Millrace-Subject`, the body, and `Millrace-Deliveries`. `why`: which limit it reached, "" for none.
 */
export function workDeadLetterHeaders(item: WorkItem, end: EndedDelivery, why: string): Record<string, string> {
  const after = afterEnd(item, end);
  const { counts, ended } = end;
  const code: (typeof WORK_DEAD_CODES)[number] = ended.class === "invalid" ? "WORK_INVALID" : "WORK_FAILED";
  const reason = [ended.reason, why].filter((part) => part !== "").join("; ");
  const trace = validTraceparent(item.headers["traceparent"]?.[0]);
  return fitting({
    ...carried(item),
    [DLQ_HEADER.id]: asciiJson(item.id),
    [DLQ_HEADER.queue]: asciiJson(item.worker),
    [DLQ_HEADER.code]: code,
    [DLQ_HEADER.class]: ended.class,
    [DLQ_HEADER.reason]: asciiJson(reason.slice(0, REASON_CHARACTERS)),
    [DLQ_HEADER.attempt]: String(endedAttempt(end)),
    [DLQ_HEADER.attempts]: asciiJson(counts),
    [DLQ_HEADER.deliveries]: String(after.deliveries),
    [DLQ_HEADER.message]: asciiJson(item.origin),
    [DLQ_HEADER.firstError]: asciiJson(after.firstError?.slice(0, REASON_CHARACTERS)),
    [DLQ_HEADER.lastError]: asciiJson(after.lastError?.slice(0, REASON_CHARACTERS)),
    ...(trace === undefined ? {} : { [DLQ_HEADER.trace]: asciiJson(trace) }),
  });
}
