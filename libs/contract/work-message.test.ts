import { describe, expect, it } from "vitest";
import { afterEnd, endedAttempt, workItem, workRetryHeaders } from "./work-message.ts";
import { workHash, workRunSubject } from "./work-subjects.ts";

const fresh = { stream: "WORK", seq: 7, storedAt: "1700000000000000000", subject: "image-download", headers: {} };
const origin = "WORK-7-1700000000000000000";

const asHeaders = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));

describe("a worker's message", () => {
  it("has the id that its producer gave it, else the one of where it was stored", () => {
    expect(workItem("image-download", fresh)).toMatchObject({ id: origin, origin, hash: workHash(origin), failures: 0 });
    expect(workItem("image-download", { ...fresh, headers: { "Nats-Msg-Id": ["order-1"] } })).toMatchObject({ id: "order-1" });
    expect(workItem("image-download", { ...fresh, headers: { "Nats-Msg-Id": ["x".repeat(257)] } })).toMatchObject({ id: origin });
  });

  it("N4: counts that a producer writes into its headers mean nothing", () => {
    const headers = asHeaders({ "Millrace-Failures": "2", "Millrace-Id": '"other"' });
    expect(workItem("image-download", { ...fresh, headers })).toMatchObject({ id: origin, failures: 0 });
  });

  it("is the same after a retry: identity, counts, subject, headers, errors in any language", () => {
    const item = workItem("image-download", { ...fresh, headers: { "X-From": ["Zoë\n"], "Nats-Msg-Id": ["order-1"] } });
    if (item === undefined) throw new Error("a fresh message is one");
    const ack = "$JS.ACK.WORK.worker-image-download.1.7.7.1700000000000000000.0";
    const failed = { ...item, failures: 2, free: 1, deliveries: 5, firstError: "größer\nals", lastError: "x", predecessor: ack };
    const subject = workRunSubject("image-download", item.hash, 4);
    const stored = { stream: "WORK_RETRY", seq: 1, storedAt: "1", subject, headers: asHeaders(workRetryHeaders(failed)) };
    expect(workItem("image-download", stored)).toEqual(failed);
    for (const value of Object.values(workRetryHeaders(failed))) expect(value).toMatch(/^[\x20-\x7e]*$/);
  });

  it.each([
    ["of another worker", workRunSubject("other", workHash(origin), 1)],
    ["of another message", workRunSubject("image-download", workHash("else"), 1)],
    ["of another attempt", workRunSubject("image-download", workHash(origin), 3)],
  ])("N4: a retry %s than its headers say is none", (_, subject) => {
    const item = workItem("image-download", fresh);
    if (item === undefined) throw new Error("a fresh message is one");
    const headers = asHeaders(workRetryHeaders(item));
    expect(workItem("image-download", { stream: "WORK_RETRY", seq: 1, storedAt: "1", subject, headers })).toBeUndefined();
  });

  it("remembers its first and its last error, and every delivery", () => {
    const item = workItem("image-download", fresh);
    if (item === undefined) throw new Error("a fresh message is one");
    const once = afterEnd(item, {
      counts: { failures: 1, free: 0 },
      ended: { class: "error", reason: "a" },
      delivery: 3,
      ack: "one",
    });
    const twice = afterEnd(once, {
      counts: { failures: 1, free: 1 },
      ended: { class: "lost", reason: "b" },
      delivery: 1,
      ack: "two",
    });
    expect(twice).toMatchObject({
      failures: 1,
      free: 1,
      deliveries: 4,
      firstError: "attempt 1: error: a",
      lastError: "attempt 2: lost: b",
      predecessor: "two",
    });
  });

  it("knows which attempt ended: what makes it dead at once is not counted", () => {
    expect(endedAttempt({ counts: { failures: 1, free: 1 }, ended: { class: "error", reason: "" } })).toBe(2);
    expect(endedAttempt({ counts: { failures: 1, free: 1 }, ended: { class: "invalid", reason: "" } })).toBe(3);
  });
});
