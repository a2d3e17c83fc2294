import { describe, expect, it } from "vitest";
import {
  type ClaimHolder,
  endedClaim,
  type Reception,
  receive,
  releasedClaim,
  settlingClaim,
  type WorkClaim,
} from "./work-claim.ts";
import { workRetryConfig } from "./work-config.ts";
import { workItem } from "./work-message.ts";

const ACK_WAIT_MS = 10_000;
const retry = workRetryConfig.parse({ attempts: 3, freeLimit: 2 });
const fresh = { stream: "WORK", seq: 7, storedAt: "1700000000000000000", subject: "image-download", headers: {} };
const item = workItem("image-download", fresh);
if (item === undefined) throw new Error("a fresh message is one");

const holder = (pod: string, process: string): ClaimHolder => ({ pod, podName: `pod-${pod}`, process, bootedAtMs: 1 });
const me = holder("a", "a1");
const claimed = (by: ClaimHolder | undefined, more: Partial<WorkClaim> = {}): WorkClaim => ({
  worker: "image-download",
  ...(by === undefined ? {} : { holder: by }),
  delivery: 1,
  ack: "$JS.ACK.old",
  failures: 0,
  free: 0,
  ...more,
});
const received = (claim: WorkClaim | undefined, ageMs = 0, more: Partial<Reception> = {}) =>
  receive({
    item,
    found: claim === undefined ? undefined : { claim, ageMs },
    by: me,
    delivery: 2,
    ack: "$JS.ACK.new",
    ackWaitMs: ACK_WAIT_MS,
    retry,
    random: 0.5,
    ...more,
  });

describe("W1: a worker that is given a message", () => {
  it("takes one that nobody claims", () => {
    expect(received(undefined)).toEqual({
      kind: "run",
      attempt: 1,
      counts: { failures: 0, free: 0 },
      claim: { worker: "image-download", holder: me, delivery: 2, ack: "$JS.ACK.new", failures: 0, free: 0 },
    });
  });

  it("leaves one that a process of another pod holds, as long as its lease is renewed", () => {
    expect(received(claimed(holder("b", "b1")), ACK_WAIT_MS * 0.79).kind).toBe("leave");
  });

  it("leaves one whose holder renews by a longer ack_wait, as after an upgrade that made it shorter", () => {
    const slower = { ...holder("b", "b1"), ackWaitMs: 4 * ACK_WAIT_MS };
    expect(received(claimed(slower), ACK_WAIT_MS * 3).kind).toBe("leave");
    expect(received(claimed(slower), ACK_WAIT_MS * 3.3).kind).toBe("run");
  });

  it("takes one whose holder fell silent, and counts that as nobody's fault", () => {
    expect(received(claimed(holder("b", "b1")), ACK_WAIT_MS * 0.81)).toMatchObject({
      kind: "run",
      attempt: 2,
      claim: { holder: me, failures: 0, free: 1 },
    });
  });

  it("takes one of the process before it in its own pod at once", () => {
    expect(received(claimed(holder("a", "a0")))).toMatchObject({ kind: "run", attempt: 2, claim: { free: 1 } });
  });

  it("takes one that was handed back, as the same attempt", () => {
    const back = releasedClaim(claimed(holder("b", "b1"), { failures: 1 }));
    expect(received(back)).toMatchObject({ kind: "run", attempt: 2, claim: { failures: 1, free: 0 } });
  });
});

describe("W1: the end of a process that the monitor saw", () => {
  const oom = { class: "oom", reason: "container worker ran out of memory" } as const;
  const lost = { class: "lost", reason: "its pod was deleted" } as const;

  it("burns an attempt when it ran out of memory; the next worker puts the message to sleep first", () => {
    const ended = endedClaim(claimed(holder("b", "b1")), oom);
    expect(ended).toMatchObject({ failures: 1, free: 0, ended: oom });
    expect(ended).not.toHaveProperty("holder");
    const receipt = received(ended);
    expect(receipt).toMatchObject({ kind: "sleep", delayMs: 10_000, counts: { failures: 1, free: 0 } });
    expect(receipt).toMatchObject({ claim: { holder: me, ended: oom, settling: true } });
  });

  it("costs nothing when it was nobody's fault; the first one is made up for at once", () => {
    expect(received(endedClaim(claimed(holder("b", "b1")), lost))).toMatchObject({ kind: "run", attempt: 2, claim: { free: 1 } });
    expect(received(endedClaim(claimed(holder("b", "b1"), { free: 1 }), lost))).toMatchObject({ kind: "sleep" });
  });

  it("makes the message dead when its budget or freeLimit is spent", () => {
    expect(received(endedClaim(claimed(holder("b", "b1"), { failures: 2 }), oom))).toMatchObject({
      kind: "dead",
      why: "all 3 attempts are used up",
    });
    expect(received(endedClaim(claimed(holder("b", "b1"), { free: 2 }), lost))).toMatchObject({ kind: "dead" });
  });

  it("is a timeout when the process had marked the claim, whoever finds it", () => {
    const marked = claimed(holder("b", "b1"), { overran: true });
    expect(endedClaim(marked, oom)).toMatchObject({ failures: 1, ended: { class: "timeout" } });
    expect(received(marked, ACK_WAIT_MS)).toMatchObject({ kind: "sleep", ended: { class: "timeout" } });
  });
});

describe("W1: an end that its worker has decided and not finished writing down", () => {
  const error = { class: "error", reason: "no such bucket" } as const;
  const settling = settlingClaim(claimed(holder("b", "b1")), error);

  it("counts it in the claim itself", () => {
    expect(settling).toMatchObject({ holder: { pod: "b" }, failures: 1, free: 0, ended: error, settling: true });
  });

  it("is gone on with by the next worker, which counts nothing more and runs nothing", () => {
    expect(received(settling, ACK_WAIT_MS)).toMatchObject({
      kind: "sleep",
      counts: { failures: 1, free: 0 },
      claim: { holder: me, failures: 1, free: 0, settling: true },
    });
  });

  it("stays what it is whatever becomes of the process, and when it is handed back", () => {
    for (const back of [endedClaim(settling, { class: "oom", reason: "" }), releasedClaim(settling)]) {
      expect(back).not.toHaveProperty("holder");
      expect(received(back)).toMatchObject({ kind: "sleep", counts: { failures: 1, free: 0 }, ended: error });
    }
  });

  it("goes by WORK_RETRY also when it is due at once: its retry may stand there already", () => {
    const later = settlingClaim(claimed(holder("b", "b1")), { class: "later", reason: "" });
    expect(received(later, ACK_WAIT_MS)).toMatchObject({ kind: "sleep", delayMs: 0, counts: { free: 1 } });
  });

  it("is dead again when it was dead", () => {
    const invalid = settlingClaim(claimed(holder("b", "b1")), { class: "invalid", reason: "is not JSON" });
    expect(received(invalid, ACK_WAIT_MS)).toMatchObject({ kind: "dead", claim: { settling: true } });
  });

  it("is left alone while its holder lives", () => {
    expect(received(settling).kind).toBe("leave");
  });
});
