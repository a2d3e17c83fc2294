import { afterEach, describe, expect, it, vi } from "vitest";
import { silentAfterMs } from "../../../libs/contract/lease-rhythm.ts";
import type { WorkClaim } from "../../../libs/contract/work-claim.ts";
import type { ClaimSlot } from "../../../libs/streams/claims.ts";
import type { LeaseBroker } from "./held-lease.ts";
import { LeaseKeeper, type Overrun } from "./lease-keeper.ts";

const ACK_WAIT_MS = 30_000;
const RENEW_MS = ACK_WAIT_MS / 3;
const GRACE_MS = 25_000;
const KEY = "WORK.worker-w.1";
const HOLDER = { pod: "pod", podName: "pod", process: "this", bootedAtMs: 0 };
const CLAIM: WorkClaim = { worker: "w", holder: HOLDER, delivery: 1, ack: "ack", failures: 0, free: 0 };

/** One key, as the broker has it; answers may get lost. */
class FakeClaims {
  claim: WorkClaim = CLAIM;
  revision = 1;
  readonly renewed: string[] = [];
  /** What becomes of the next writes: stored and answered unless something else is said. */
  readonly fate: ("unanswered" | "unreachable" | "swallowed")[] = [];

  readonly broker: LeaseBroker = {
    claims: {
      get: (key): Promise<ClaimSlot> =>
        Promise.resolve({ revision: this.revision, stored: { key, claim: this.claim, revision: this.revision, writtenAtMs: 0 } }),
      swap: (_key, claim, revision) => {
        const fate = this.fate.shift();
        if (fate === "swallowed") return new Promise(() => {});
        if (fate === "unreachable") return Promise.reject(new Error("no responders"));
        if (revision !== this.revision) return Promise.resolve({ kind: "lost" });
        this.claim = claim;
        this.revision += 1;
        if (fate === "unanswered") return Promise.reject(new Error("timeout"));
        return Promise.resolve({ kind: "won", revision: this.revision });
      },
    },
    renew: (ack) => void this.renewed.push(ack),
  };
}

function bench(options: { readonly broker?: () => LeaseBroker | undefined; readonly random?: number } = {}) {
  const fake = new FakeClaims();
  const lost: number[] = [];
  const stale: string[] = [];
  const overruns: Overrun[] = [];
  const words: (readonly string[])[] = [];
  const keeper = new LeaseKeeper({
    ackWaitMs: ACK_WAIT_MS,
    graceMs: GRACE_MS,
    broker: options.broker ?? (() => fake.broker),
    onLost: (ticket) => lost.push(ticket),
    onStale: (key) => stale.push(key),
    leaveWords: (overran) => words.push(overran),
    onOverrun: (overrun) => overruns.push(overrun),
    random: () => options.random ?? 1,
  });
  /** What a tick began has ended. */
  const tick = async (nowMs: number): Promise<void> => {
    keeper.tick(nowMs);
    await new Promise((resolve) => setImmediate(resolve));
  };
  keeper.hold(1, { key: KEY, ack: "ack", claim: CLAIM, revision: 1 }, { nowMs: 0, leftMs: 1_000_000 });
  return { fake, keeper, tick, lost, stale, words, overruns };
}

afterEach(() => void vi.useRealTimers());

describe("LeaseKeeper", () => {
  it("W1: renews three times an ack_wait, claim and message", async () => {
    const { fake, keeper, tick } = bench();
    await tick(RENEW_MS - 1);
    expect(fake.renewed).toEqual([]);
    await tick(RENEW_MS);
    await tick(RENEW_MS + 1);
    await tick(2 * RENEW_MS);
    expect([fake.renewed.length, fake.revision]).toEqual([2, 3]);
    expect(await keeper.release(1)).toBe(3);
    await tick(10 * RENEW_MS);
    expect(fake.renewed.length).toBe(2);
  });

  it("the first renewal is spread, so that messages taken together are not renewed together", async () => {
    const { fake, tick } = bench({ random: 0 });
    await tick(RENEW_MS / 2);
    expect(fake.renewed.length).toBe(1);
  });

  it("W1: a write whose answer was lost is known again as its own, and the lease goes on", async () => {
    const { fake, keeper, tick, lost } = bench();
    fake.fate.push("unanswered");
    await tick(RENEW_MS);
    expect(fake.renewed.length).toBe(1);
    await tick(2 * RENEW_MS);
    expect([fake.renewed.length, fake.revision, lost]).toEqual([2, 3, []]);
    expect(await keeper.release(1)).toBe(3);
  });

  it("a renewal that failed is made up for long before the next one is due", async () => {
    const { fake, tick } = bench();
    fake.fate.push("unreachable");
    await tick(RENEW_MS);
    expect(fake.revision).toBe(1);
    await tick(RENEW_MS * 1.25);
    expect(fake.revision).toBe(2);
  });

  it.each([3_000, 30_000, 120_000, 3_600_000])(
    "W1: a renewal that is lost on its way is made up for before others miss it, with an ack_wait of %i ms",
    async (ackWaitMs) => {
      vi.useFakeTimers();
      const fake = new FakeClaims();
      const told = { onLost: () => {}, onStale: () => {}, onOverrun: () => {} };
      const keeper = new LeaseKeeper({ ...told, ackWaitMs, graceMs: GRACE_MS, broker: () => fake.broker, random: () => 1 });
      keeper.hold(1, { key: KEY, ack: "ack", claim: CLAIM, revision: 1 }, { nowMs: performance.now(), leftMs: 2 * ackWaitMs });
      fake.fate.push("swallowed");
      const heldAtMs = performance.now();
      while (fake.revision === 1) {
        await vi.advanceTimersByTimeAsync(Math.min(250, ackWaitMs / 20));
        keeper.tick(performance.now());
        await vi.advanceTimersByTimeAsync(0);
      }
      expect(performance.now() - heldAtMs).toBeLessThan(silentAfterMs(ackWaitMs));
    },
  );

  it("what was missed while NATS was away is renewed when it is there again", async () => {
    let broker: LeaseBroker | undefined;
    const { fake, keeper, tick } = bench({ broker: () => broker });
    await tick(RENEW_MS);
    expect(fake.revision).toBe(1);
    broker = fake.broker;
    keeper.renewAll(RENEW_MS + 1);
    await tick(RENEW_MS + 1);
    expect([fake.revision, fake.renewed.length]).toEqual([2, 1]);
  });

  it("W1: a lease that could not be renewed for most of an ack_wait is told, and no longer once it was", async () => {
    let broker: LeaseBroker | undefined;
    const { fake, keeper, tick, stale } = bench({ broker: () => broker });
    await tick(ACK_WAIT_MS * 0.8);
    expect([stale, keeper.stale]).toEqual([[], 0]);
    await tick(ACK_WAIT_MS * 0.8 + 1);
    await tick(ACK_WAIT_MS);
    expect([stale, keeper.stale]).toEqual([[KEY], 1]);
    broker = fake.broker;
    await tick(2 * ACK_WAIT_MS);
    expect([stale, keeper.stale]).toEqual([[KEY], 0]);
  });

  it.each([
    ["another process", { ...CLAIM, holder: { ...HOLDER, process: "other" } }],
    ["nobody: it was handed back", { worker: "w", delivery: 1, ack: "ack", failures: 1, free: 0 }],
    ["this process, by a later delivery", { ...CLAIM, delivery: 2 }],
  ])("W1: a claim of %s is lost: told once, and its message is not renewed", async (_whose, claim) => {
    const { fake, keeper, tick, lost } = bench();
    fake.claim = claim;
    fake.revision = 7;
    await tick(RENEW_MS);
    await tick(2 * RENEW_MS);
    expect([lost, fake.renewed, fake.revision]).toEqual([[1], [], 7]);
    expect(await keeper.release(1)).toBeUndefined();
  });

  it("W1: marks what outlived its time and the grace, then ends the process, once", async () => {
    const { fake, keeper, tick, words, overruns } = bench();
    keeper.hold(2, { key: KEY, ack: "ack", claim: CLAIM, revision: 1 }, { nowMs: 0, leftMs: 5 });
    await keeper.release(1);
    await tick(5 + GRACE_MS - 1);
    expect(overruns).toEqual([]);
    await tick(5 + GRACE_MS);
    await tick(5 + GRACE_MS + 1);
    expect([overruns, words]).toEqual([[{ key: KEY, why: "timeout" }], [[KEY]]]);
    expect(fake.claim).toEqual({ ...CLAIM, overran: true });
  });

  it("a handler that does not end when its lease was lost ends the process after the grace; the claim stays as it is", async () => {
    const { fake, tick, words, overruns } = bench();
    fake.claim = { ...CLAIM, delivery: 2 };
    fake.revision = 7;
    await tick(RENEW_MS);
    await tick(RENEW_MS + GRACE_MS);
    expect([overruns, words, fake.revision]).toEqual([[{ key: KEY, why: "leaseLost" }], [[]], 7]);
  });

  it("W1: word of an end whose mark the broker does not take is left all the same, before the process ends", async () => {
    vi.useFakeTimers();
    const said: unknown[] = [];
    const fake = new FakeClaims();
    fake.fate.push("swallowed");
    const keeper = new LeaseKeeper({
      ...{ ackWaitMs: ACK_WAIT_MS, graceMs: GRACE_MS, broker: () => fake.broker, onLost: () => {}, onStale: () => {} },
      leaveWords: (overran) => said.push(overran),
      onOverrun: ({ why }) => said.push(why),
    });
    keeper.hold(1, { key: KEY, ack: "ack", claim: CLAIM, revision: 1 }, { nowMs: 0, leftMs: 5 });
    keeper.tick(5 + GRACE_MS);
    await vi.runAllTimersAsync();
    expect(said).toEqual([[KEY], "timeout"]);
    expect(fake.claim).toEqual(CLAIM);
  });

  it.each(["before its lease is lost", "after it"])("a handler that has ended, %s, ends no process", async (when) => {
    const { fake, keeper, tick, overruns } = bench();
    fake.revision = 7;
    fake.claim = { ...CLAIM, delivery: 2 };
    if (when !== "after it") keeper.handlerEnded(1);
    await tick(RENEW_MS);
    keeper.handlerEnded(1);
    await tick(10_000_000);
    expect(overruns).toEqual([]);
  });

  it("knows whether some handler has time, which is none's whose handler ended", async () => {
    const { keeper } = bench();
    expect(keeper.hasTime(1_000_000)).toBe(true);
    expect(keeper.hasTime(2_000_000)).toBe(false);
    keeper.handlerEnded(1);
    expect(keeper.hasTime(0)).toBe(false);
  });
});
