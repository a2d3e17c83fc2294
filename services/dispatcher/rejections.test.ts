import { expect, it } from "vitest";
import { rejected } from "../../libs/contract/message.ts";
import { recordIn, SOURCE } from "../../libs/contract/testing/records.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { openDelivery, type PulledMessage } from "./delivery.ts";
import { Rejections } from "./rejections.ts";

const { rejection } = rejected("POLICY_DENIED", "job", "not allowed");

/** What was done, in order. */
function scene(room: boolean) {
  const done: string[] = [];
  const note = (what: string) => () => Promise.resolve(void done.push(what));
  const message: PulledMessage = {
    subject: "jobs.default.hello",
    headers: {},
    data: new TextEncoder().encode('{"id":"a","template":"hello"}'),
    replySubject: "",
    source: SOURCE,
    deliveries: 1,
    ackAck: () => Promise.resolve(done.push("ack") > 0),
    nak: () => void done.push("nak"),
    working: () => {},
  };
  const opened = openDelivery(message, "ns.release", "default");
  if (opened.kind === "rejected") throw new Error("the message is fine");
  const rejections = new Rejections({
    deadLetters: { rejected: note("dlq"), hasRoomForRejected: () => Promise.resolve(room) },
    events: { rejected: note("event") },
    settler: { settle: () => Promise.reject(new Error("no record awaits it")) },
    nowMs: () => 0,
    metrics: new Metrics("dispatcher"),
    log: silentLog,
  });
  return { done, message, delivery: opened.value, rejections };
}

it("D11: the DLQ entry first, then the event, then the acknowledgement", async () => {
  const { done, message, rejections } = scene(true);
  await rejections.reject(message, "default", "a", rejection);
  expect(done).toEqual(["dlq", "event", "ack"]);
});

it("Limits: garbage fills half of the DLQ at most; what has no room is held and not lost", async () => {
  const { done, message, rejections } = scene(false);
  await rejections.reject(message, "default", "a", rejection);
  expect(done).toEqual(["nak"]);
});

it("I4: a message whose record moved on meanwhile is decided again, and gets no entry", async () => {
  const { done, delivery, rejections } = scene(true);
  await rejections.refuse(delivery, recordIn("succeeded"), rejection);
  expect(done).toEqual(["nak"]);
});
