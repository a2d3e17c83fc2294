import { expect, it } from "vitest";
import { rejected } from "../../libs/contract/message.ts";
import { recordIn, SOURCE } from "../../libs/contract/testing/records.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import type { Settler } from "../../libs/streams/settle.ts";
import { openDelivery, type PulledMessage } from "./delivery.ts";
import { Rejections } from "./rejections.ts";

const { rejection } = rejected("POLICY_DENIED", "job", "not allowed");

/** What was done, in order. */
function scene(room: boolean, settle: Settler["settle"] = () => Promise.reject(new Error("no record awaits it"))) {
  const done: string[] = [];
  const metrics = new Metrics("dispatcher");
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
    settler: { settle },
    nowMs: () => 0,
    metrics,
    log: silentLog,
  });
  return { done, message, delivery: opened.value, metrics, rejections };
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

it("I4: a refusal that is settled again, as by two dispatchers at once, is one failed message", async () => {
  const record = { ...recordIn("retrying"), life: 1, next: { attempt: 1, notBefore: new Date(0).toISOString() } };
  const firsts = [true, false];
  const { delivery, metrics, rejections } = scene(true, () =>
    Promise.resolve({ kind: "settled", record, first: firsts.shift() ?? false }),
  );
  for (const _time of [1, 2]) await rejections.refuse(delivery, record, rejection);
  expect((await metrics.messagesFailed.get()).values).toMatchObject([{ labels: { queue: "default" }, value: 1 }]);
});
