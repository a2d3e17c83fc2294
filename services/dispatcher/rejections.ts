import { headerValue } from "../../libs/contract/cloud-event.ts";
import { jobFields } from "../../libs/contract/job-fields.ts";
import { rejectionSpan } from "../../libs/contract/job-span.ts";
import { traceIdOf } from "../../libs/contract/job-trace.ts";
import type { Rejection } from "../../libs/contract/message.ts";
import type { JobRecord } from "../../libs/contract/record.ts";
import { parseRetryMessage } from "../../libs/contract/retry-message.ts";
import { parseJobSubject } from "../../libs/contract/subjects.ts";
import { validTraceparent } from "../../libs/contract/traceparent.ts";
import { awaits } from "../../libs/contract/transition.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";
import type { Traces } from "../../libs/runtime/trace.ts";
import type { DeadLetters } from "../../libs/streams/dead-letters.ts";
import type { JobEvents } from "../../libs/streams/job-events.ts";
import type { Settler } from "../../libs/streams/settle.ts";
import type { Delivery, PulledMessage } from "./delivery.ts";

export interface RejectionsOptions {
  readonly deadLetters: Pick<DeadLetters, "rejected" | "hasRoomForRejected">;
  readonly events: Pick<JobEvents, "rejected">;
  readonly settler: Pick<Settler, "settle">;
  readonly nowMs: () => number;
  readonly traces?: Traces | undefined;
  readonly metrics: Metrics;
  readonly log: Log;
}

const AGAIN_MS = 5_000;
/** What has no room in the DLQ stays where it is, and in nobody's way but its own queue's. */
const NO_ROOM_MS = 60_000;

/** Messages that can never run (rules D3, D7, D11). */
export class Rejections {
  readonly #options: RejectionsOptions;

  constructor(options: RejectionsOptions) {
    this.#options = options;
  }

  /** D7: a record that awaits this attempt dies with it; without one the message is rejected. */
  async refuse(delivery: Delivery, record: JobRecord | undefined, rejection: Rejection): Promise<void> {
    if (record === undefined) return this.reject(delivery.message, delivery.queue, delivery.id, rejection);
    // The record moved on meanwhile: delivered again, the message is decided by what it says then (rule D6).
    if (!awaits(record, delivery)) return delivery.message.nak(AGAIN_MS);
    const { settler, metrics, log, nowMs } = this.#options;
    const { attempt, life, source, message, hash, queue } = delivery;
    const at = new Date(nowMs()).toISOString();
    const reason = `${rejection.code}: ${rejection.path === "" ? "" : `${rejection.path}: `}${rejection.reason}`;
    const outcome = await settler.settle(hash, { kind: "refused", attempt, life, source, reason, at }, message.replySubject);
    if (outcome.kind === "settled" && outcome.first) metrics.messagesFailed.inc({ queue });
    log.warn("job.refused", { ...jobFields(delivery), source, code: rejection.code, outcome: outcome.kind });
  }

  /** D11: DLQ with raw bytes, then event, then the acknowledgement. No record is touched: the id may be another message's. */
  async reject(message: PulledMessage, queue: string, id: string | undefined, rejection: Rejection): Promise<void> {
    const { deadLetters, events, traces, metrics, log, nowMs } = this.#options;
    const { source } = message;
    const named = id === undefined ? {} : { id };
    if (!(await deadLetters.hasRoomForRejected())) {
      log.error("message.not-rejected", {
        ...named,
        queue,
        source,
        code: rejection.code,
        why: "the DLQ is half full: make room in it",
      });
      return message.nak(NO_ROOM_MS);
    }
    const retry = parseRetryMessage(message.subject, message.headers);
    const original = retry?.original ?? { subject: message.subject, headers: message.headers };
    const type = retry?.type ?? parseJobSubject(message.subject)?.type ?? "";
    await deadLetters.rejected({ queue, type, id, source, rejection, original, body: message.data });
    await events.rejected(queue, id, source, rejection, new Date(nowMs()).toISOString());
    await message.ackAck();
    // Of a body that cannot be read its headers still can.
    const traceparent = validTraceparent(headerValue(Object.entries(original.headers), "traceparent"));
    traces?.add(rejectionSpan({ queue, type, source, traceparent }, rejection, nowMs()));
    metrics.rejections.inc({ queue, code: rejection.code });
    metrics.messagesFailed.inc({ queue });
    log.warn("message.rejected", {
      ...named,
      ...traceIdOf({ traceparent }),
      queue,
      source,
      code: rejection.code,
      path: rejection.path,
      reason: rejection.reason,
    });
  }
}
