import { getEventListeners } from "node:events";
import { setImmediate as settle } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeClock } from "../../libs/runtime/testing/fake-clock.ts";
import { PostGate, type PostOutcome, type Release } from "./post-gate.ts";

const never = new AbortController().signal;

/** A gate, who got a turn in which order, and the turns that are out. */
class Bench {
  readonly clock = new FakeClock();
  readonly gate: PostGate;
  readonly served: string[] = [];
  readonly #turns = new Map<string, Release>();

  constructor(options: { initialLimit?: number; minLimit?: number; maxLimit?: number } = {}) {
    this.gate = new PostGate({ clock: this.clock, ...options });
  }

  async enter(
    name: string,
    options: { queue?: string; weight?: number; retry?: boolean; signal?: AbortSignal; onTurn?: () => void } = {},
  ) {
    const { queue = "default", weight = 1, retry = false, signal = never } = options;
    const release = await this.gate.enter({ queue, weight, retry, signal });
    if (release === undefined) return;
    this.served.push(name);
    this.#turns.set(name, release);
    options.onTurn?.();
  }
  async enterAll(names: readonly string[], options: Parameters<Bench["enter"]>[1] = {}): Promise<void> {
    for (const name of names) void this.enter(name, options);
    await settle();
  }
  async release(name: string, outcome: PostOutcome = "ok", retryAfterMs?: number): Promise<void> {
    const release = this.#turns.get(name);
    if (release === undefined) throw new Error(`${name} has no turn`);
    this.#turns.delete(name);
    release(outcome, retryAfterMs);
    await settle();
  }
  get out(): string[] {
    return [...this.#turns.keys()];
  }
  /** Ends the oldest turn, `count` times, and with the same outcome. */
  async releaseOldest(count: number, outcome: PostOutcome = "ok"): Promise<void> {
    for (let turn = 0; turn < count; turn += 1) await this.release(this.out[0] ?? "nobody", outcome);
  }
}

const names = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${prefix}${index}`);

describe("PostGate: how many at once", () => {
  it("lets 16 in, and the next one when a turn is given back", async () => {
    const bench = new Bench();
    await bench.enterAll(names("m", 18));
    expect(bench.served).toEqual(names("m", 16));
    expect(bench.gate).toMatchObject({ inFlight: 16, limit: 16, waiting: 2 });
    await bench.release("m3");
    expect(bench.served.at(-1)).toBe("m16");
    expect(bench.gate).toMatchObject({ inFlight: 16, waiting: 1 });
  });

  it("grows by one for as many successes as the limit is, while it is full", async () => {
    const bench = new Bench({ initialLimit: 4 });
    await bench.enterAll(names("m", 40));
    await bench.releaseOldest(3);
    expect(bench.gate.limit).toBe(4);
    await bench.releaseOldest(1);
    expect(bench.gate).toMatchObject({ limit: 5, inFlight: 5 });
    await bench.releaseOldest(5);
    expect(bench.gate.limit).toBe(6);
  });

  it("does not grow while it is not full: nobody knows how much more would do", async () => {
    const bench = new Bench({ initialLimit: 4 });
    for (const name of names("m", 50)) {
      await bench.enterAll([name, `${name}x`, `${name}y`]);
      await bench.releaseOldest(3);
    }
    expect(bench.gate.limit).toBe(4);
  });

  it("halves on overload, once for the failures of one burst", async () => {
    const bench = new Bench();
    await bench.enterAll(names("m", 16));
    await bench.releaseOldest(16, "overload");
    expect(bench.gate).toMatchObject({ limit: 8, inFlight: 0 });
    await bench.enterAll(names("n", 8));
    await bench.releaseOldest(8, "overload");
    expect(bench.gate.limit).toBe(4);
  });

  it("successes that began before a halving do not count", async () => {
    const bench = new Bench({ initialLimit: 8 });
    await bench.enterAll(names("m", 40));
    await bench.release("m7", "overload");
    expect(bench.gate).toMatchObject({ limit: 4, inFlight: 7 });
    await bench.releaseOldest(7);
    expect(bench.gate).toMatchObject({ limit: 4, inFlight: 4 });
    await bench.releaseOldest(4);
    expect(bench.gate.limit).toBe(5);
  });

  it("nor do those that were counted towards the next growth", async () => {
    const bench = new Bench({ initialLimit: 8 });
    await bench.enterAll(names("m", 40));
    await bench.releaseOldest(7);
    await bench.releaseOldest(1, "overload");
    await bench.releaseOldest(7);
    await bench.releaseOldest(3);
    expect(bench.gate).toMatchObject({ limit: 4, inFlight: 4 });
  });

  it("a refusal says nothing about load", async () => {
    const bench = new Bench({ initialLimit: 2 });
    await bench.enterAll(names("m", 20));
    await bench.releaseOldest(18, "refused");
    expect(bench.gate.limit).toBe(2);
  });

  it("tells how long no turn has come back: a line that is long and moves is not one that stands still", async () => {
    const bench = new Bench({ initialLimit: 1 });
    await bench.enterAll(names("m", 3));
    expect(bench.gate.sinceTurnMs).toBe(Number.POSITIVE_INFINITY);
    await bench.release("m0");
    expect(bench.gate.sinceTurnMs).toBe(0);
    bench.clock.advance(5_000);
    expect(bench.gate.sinceTurnMs).toBe(5_000);
    await bench.release("m1", "overload");
    expect(bench.gate.sinceTurnMs).toBe(0);
  });

  it("a turn that is given back twice counts once", async () => {
    const gate = new PostGate({ clock: new FakeClock() });
    const release = await gate.enter({ queue: "a", weight: 1, retry: false, signal: never });
    release?.("ok");
    release?.("ok");
    expect(gate.inFlight).toBe(0);
  });
});

describe("PostGate: Retry-After", () => {
  it("nobody begins for that long, then those that wait do", async () => {
    const bench = new Bench({ initialLimit: 2 });
    await bench.enterAll(["a", "b", "c"]);
    await bench.release("a", "overload", 3_000);
    await bench.release("b");
    await bench.enterAll(["d"]);
    bench.clock.advance(2_999);
    await settle();
    expect(bench.served).toEqual(["a", "b"]);
    bench.clock.advance(1);
    await settle();
    expect(bench.served).toEqual(["a", "b", "c"]);
    expect(bench.clock.pending).toBe(0);
  });

  it("is capped at 30 s; a shorter one does not shorten a longer one", async () => {
    const bench = new Bench({ initialLimit: 4 });
    await bench.enterAll(["a", "b", "c"]);
    await bench.release("a", "overload", 3_600_000);
    await bench.release("b", "overload", 1_000);
    await bench.release("c", "overload");
    await bench.enterAll(["d"]);
    bench.clock.advance(29_999);
    await settle();
    expect(bench.served).not.toContain("d");
    bench.clock.advance(1);
    await settle();
    expect(bench.served).toContain("d");
  });

  it("keeps a timer only while somebody waits for it", async () => {
    const bench = new Bench();
    await bench.enterAll(["a"]);
    await bench.release("a", "overload", 5_000);
    expect(bench.clock.pending).toBe(0);
    const stop = new AbortController();
    await bench.enterAll(["b", "c"], { signal: stop.signal });
    expect(bench.clock.pending).toBe(1);
    stop.abort();
    expect(bench.clock.pending).toBe(0);
  });
});

describe("PostGate: who is next", () => {
  it("within a queue retries go before fresh messages, and each in order of coming", async () => {
    const bench = new Bench({ initialLimit: 1, maxLimit: 1 });
    await bench.enterAll(["first", "f1", "f2"]);
    await bench.enterAll(["r1", "r2"], { retry: true });
    await bench.releaseOldest(4);
    expect(bench.served).toEqual(["first", "r1", "r2", "f1", "f2"]);
  });

  it("retries of one queue do not go before another queue's turn", async () => {
    const bench = new Bench({ initialLimit: 1, maxLimit: 1 });
    await bench.enterAll(names("r", 10), { queue: "a", retry: true });
    await bench.enterAll(names("f", 10), { queue: "b" });
    await bench.releaseOldest(9);
    expect(bench.served.filter((name) => name.startsWith("f"))).toHaveLength(5);
  });

  it("an idle queue saves nothing up, and nobody gains by leaving and coming back", async () => {
    const bench = new Bench({ initialLimit: 1, maxLimit: 1 });
    await bench.enterAll(names("a", 200), { queue: "a" });
    await bench.releaseOldest(100);
    await bench.enterAll(names("b", 50), { queue: "b" });
    const before = bench.served.length;
    await bench.releaseOldest(20);
    expect(bench.served.slice(before).filter((name) => name.startsWith("b")).length).toBeGreaterThanOrEqual(9);
    expect(bench.served.slice(before).filter((name) => name.startsWith("b")).length).toBeLessThanOrEqual(11);

    const comer = new Bench({ initialLimit: 1, maxLimit: 1 });
    await comer.enterAll(names("a", 200), { queue: "a" });
    await comer.enterAll(["b0"], { queue: "b", weight: 1 });
    for (let turn = 1; turn < 60; turn += 1) {
      await comer.releaseOldest(1);
      if (comer.out[0]?.startsWith("b") === true) await comer.enterAll([`b${turn}`], { queue: "b" });
    }
    expect(comer.served.filter((name) => name.startsWith("b")).length).toBeLessThanOrEqual(31);
  });

  it("saturated queues of weights 1:2:5 get 1:2:5", async () => {
    const bench = new Bench({ initialLimit: 8, maxLimit: 8 });
    const weights = { a: 1, b: 2, c: 5 };
    for (const [queue, weight] of Object.entries(weights)) await bench.enterAll(names(queue, 520), { queue, weight });
    // The first eight turns were taken before the other queues came.
    await bench.releaseOldest(800);
    const share = (queue: string): number => bench.served.slice(8).filter((name) => name.startsWith(queue)).length;
    expect(bench.served).toHaveLength(808);
    for (const [queue, weight] of Object.entries(weights)) expect(Math.abs(share(queue) - weight * 100)).toBeLessThanOrEqual(3);
  });

  it("a weight that changes holds from then on", async () => {
    const bench = new Bench({ initialLimit: 1, maxLimit: 1 });
    await bench.enterAll(names("a", 50), { queue: "a", weight: 1 });
    await bench.enterAll(names("b", 50), { queue: "b", weight: 1 });
    await bench.enterAll(["a-late"], { queue: "a", weight: 9 });
    const before = bench.served.length;
    await bench.releaseOldest(40);
    expect(bench.served.slice(before).filter((name) => name.startsWith("a")).length).toBeGreaterThanOrEqual(35);
  });

  it("whatever the weights, no saturated queue is ever more than a few turns off its share", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 6 }),
        async (weights, limit) => {
          const bench = new Bench({ initialLimit: limit, maxLimit: limit });
          for (const [queue, weight] of weights.entries())
            await bench.enterAll(names(`${queue}-`, 120), { queue: `q${queue}`, weight });
          await bench.releaseOldest(100);
          const sum = weights.reduce((total, weight) => total + weight, 0);
          const counts = weights.map(() => 0);
          // The first turns are taken before the other queues have come.
          for (const [index, name] of bench.served.entries()) {
            const queue = Number(name.split("-")[0]);
            counts[queue] = (counts[queue] ?? 0) + 1;
            for (const [other, weight] of weights.entries()) {
              const off = Math.abs((counts[other] ?? 0) - ((index + 1) * weight) / sum);
              expect(off).toBeLessThanOrEqual(limit + weights.length);
            }
          }
        },
      ),
      { numRuns: 25, seed: 7 },
    );
  });
});

describe("PostGate: whatever happens", () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("enter"), queue: fc.nat(2), retry: fc.boolean() }) },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("release"),
        pick: fc.nat(),
        outcome: fc.constantFrom<PostOutcome>("ok", "ok", "overload", "refused"),
        retryAfterMs: fc.constantFrom(0, 0, 500, 100_000),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("abort"), pick: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("advance"), byMs: fc.integer({ min: 0, max: 40_000 }) }) },
  );

  it("the limit keeps its bounds, a retry never waits behind a fresh one of its queue, nobody starves, the aborted leave no trace", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 120 }), fc.integer({ min: 1, max: 4 }), async (steps, initialLimit) => {
        const bench = new Bench({ initialLimit, minLimit: 1, maxLimit: 6 });
        const waiting = new Map<string, { queue: string; retry: boolean; stop: AbortController }>();
        const signals: AbortSignal[] = [];
        for (const [index, step] of steps.entries()) {
          if ("queue" in step) {
            const name = `m${index}`;
            const stop = new AbortController();
            const [queue, retry] = [`q${step.queue}`, step.retry];
            waiting.set(name, { queue, retry, stop });
            signals.push(stop.signal);
            const onTurn = (): void => {
              waiting.delete(name);
              const before = [...waiting].filter(([, other]) => other.queue === queue && (other.retry || !retry));
              for (const [other, { retry: first }] of before) {
                if (first === retry) expect(Number(other.slice(1))).toBeGreaterThan(index);
                else expect.fail(`${name} went before the retry ${other}`);
              }
            };
            await bench.enterAll([name], { queue, weight: step.queue + 1, retry, signal: stop.signal, onTurn });
          } else if ("outcome" in step) {
            const name = bench.out[step.pick % bench.out.length];
            if (name !== undefined) await bench.release(name, step.outcome, step.retryAfterMs);
          } else if ("byMs" in step) {
            bench.clock.advance(step.byMs);
            await settle();
          } else {
            const [name, waiter] = [...waiting][step.pick % waiting.size] ?? ["", undefined];
            waiting.delete(name);
            waiter?.stop.abort();
            await settle();
          }
          expect(bench.gate.limit >= 1 && bench.gate.limit <= 6).toBe(true);
          expect(bench.gate.waiting).toBe(waiting.size);
          expect(bench.gate.inFlight).toBe(bench.out.length);
          expect(bench.clock.pending).toBeLessThanOrEqual(1);
        }
        while (waiting.size > 0 || bench.out.length > 0) {
          const waited = waiting.size;
          bench.clock.advance(30_000);
          await settle();
          await bench.releaseOldest(bench.out.length);
          expect(waiting.size < waited || waited === 0 || bench.out.length > 0).toBe(true);
        }
        expect(bench.gate).toMatchObject({ inFlight: 0, waiting: 0 });
        expect(bench.clock.pending).toBe(0);
        for (const signal of signals) expect(getEventListeners(signal, "abort")).toEqual([]);
      }),
      { numRuns: 150, seed: 11 },
    );
  });

  it("who aborts before comes to nothing; who aborts while waiting gets no turn", async () => {
    const bench = new Bench({ initialLimit: 1 });
    await bench.enterAll(["a"]);
    await bench.enterAll(["b"], { signal: AbortSignal.abort() });
    const stop = new AbortController();
    await bench.enterAll(["c"], { signal: stop.signal });
    await bench.enterAll(["d"]);
    stop.abort();
    await settle();
    await bench.releaseOldest(1);
    expect(bench.served).toEqual(["a", "d"]);
  });
});
