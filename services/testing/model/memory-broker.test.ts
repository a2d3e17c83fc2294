import { brokerConformance, type ConformanceBench } from "../../../libs/streams/testing/broker-conformance.ts";
import { MemoryBroker } from "./memory-broker.ts";

const QUEUE = "q";
const SLOTS = 3;
const TICK_MS = 100;

function open(): Promise<ConformanceBench> {
  let nowMs = Date.parse("2026-01-01T00:00:00Z");
  const broker = new MemoryBroker({ nowMs: () => nowMs, queues: [QUEUE], ackWaitMs: 1_000, slots: SLOTS, retrySlots: SLOTS });
  return Promise.resolve({
    broker,
    slots: SLOTS,
    produce: async (body) => broker.produce(`jobs.${QUEUE}.hello`, body),
    async deliver(stream) {
      for (;;) {
        broker.fireSchedules();
        const [next] = broker.pull(stream, QUEUE, 1);
        if (next !== undefined) return { ...next, subject: next.message.subject };
        nowMs += TICK_MS;
      }
    },
    async idle(stream) {
      const restore = broker.snapshot(stream);
      const idle = broker.pull(stream, QUEUE, 1).length === 0;
      restore();
      return idle;
    },
    handBack: async (replySubject) => broker.handBack(replySubject, 0),
    unacked: async (stream) => broker.unacked(stream, QUEUE),
    nowMs: () => nowMs,
  });
}

brokerConformance("MemoryBroker", open);
