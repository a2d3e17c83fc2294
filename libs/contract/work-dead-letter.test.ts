import { describe, expect, it } from "vitest";
import { jsonOf } from "./ascii-json.ts";
import { DLQ_HEADER } from "./dead-letter.ts";
import { workDeadLetterHeaders } from "./work-dead-letter.ts";
import { type WorkItem, workItem } from "./work-message.ts";

function published(headers: Record<string, readonly string[]> = {}): WorkItem {
  const item = workItem("image-download", { stream: "WORK", seq: 7, storedAt: "17", subject: "images.cats", headers });
  if (item === undefined) throw new Error("a fresh message is one");
  return item;
}

const end = {
  counts: { failures: 3, free: 1 },
  ended: { class: "error", reason: "kein Eimer für Bilder" },
  delivery: 2,
  ack: "$JS.ACK",
} as const;

describe("the DLQ entry of a worker's message", () => {
  it("K8: says all that is needed to understand it and to run it again, the producer's headers as well", () => {
    const item = {
      ...published({ "X-From": ["Zoë"], "Nats-Msg-Id": ["order-1"] }),
      deliveries: 4,
      firstError: "attempt 1: exit: x",
    };
    const headers = workDeadLetterHeaders(item, end, "all 3 attempts are used up");
    expect(headers).toMatchObject({
      [DLQ_HEADER.code]: "WORK_FAILED",
      [DLQ_HEADER.class]: "error",
      [DLQ_HEADER.attempt]: "4",
      [DLQ_HEADER.deliveries]: "6",
    });
    const read = (name: string): unknown => jsonOf(headers[name]);
    expect(read(DLQ_HEADER.id)).toBe("order-1");
    expect(read(DLQ_HEADER.queue)).toBe("image-download");
    expect(read(DLQ_HEADER.subject)).toBe("images.cats");
    expect(read(DLQ_HEADER.message)).toBe("WORK-7-17");
    expect(read(DLQ_HEADER.headers)).toEqual({ "X-From": ["Zoë"], "Nats-Msg-Id": ["order-1"] });
    expect(read(DLQ_HEADER.reason)).toBe("kein Eimer für Bilder; all 3 attempts are used up");
    expect(read(DLQ_HEADER.firstError)).toBe("attempt 1: exit: x");
    expect(read(DLQ_HEADER.lastError)).toBe("attempt 4: error: kein Eimer für Bilder");
  });

  it("N5: is ASCII, carries no header of the producer as a header, and fits whatever the producer sent", () => {
    const headers = workDeadLetterHeaders(published({ "Nats-Rollup": ["all"], big: ["ü".repeat(20_000)] }), end, "");
    expect(Object.keys(headers).filter((name) => !name.startsWith("Millrace-"))).toEqual([]);
    for (const value of Object.values(headers)) expect(value).toMatch(/^[\x20-\x7e]*$/);
    expect(Object.entries(headers).join("").length).toBeLessThan(60 * 1024);
  });

  it("tells what can never be handled from what failed", () => {
    const invalid = { ...end, ended: { class: "invalid", reason: "the body is not JSON" } } as const;
    expect(workDeadLetterHeaders(published(), invalid, "")[DLQ_HEADER.code]).toBe("WORK_INVALID");
  });
});
