import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WorkUnderWay } from "../../libs/runtime/health.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { WorkQueue } from "./work-queue.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());
const settle = () => vi.advanceTimersByTimeAsync(0);

/** Records what is worked on; each piece of work ends when the test says so. */
class Bench {
  readonly underWay = new WorkUnderWay("work-queue", { stallAfterMs: 60_000, nowMs: () => Date.now() });
  readonly metrics = new Metrics("monitor");
  readonly begun: string[] = [];
  readonly #open = new Map<string, PromiseWithResolvers<void>>();
  mostAtOnce = 0;

  readonly handle = (key: string): Promise<undefined> => {
    if (this.#open.has(key)) throw new Error(`${key} is worked on twice at once`);
    const work = Promise.withResolvers<void>();
    this.begun.push(key);
    this.#open.set(key, work);
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#open.size);
    return work.promise.finally(() => this.#open.delete(key)).then(() => undefined);
  };
  async finish(key: string, error?: Error): Promise<void> {
    if (error === undefined) this.#open.get(key)?.resolve();
    else this.#open.get(key)?.reject(error);
    await settle();
  }
}

async function started(options: { concurrency: number; handle?: (key: string) => Promise<number | undefined> }) {
  const bench = new Bench();
  const queue = new WorkQueue({
    handle: options.handle ?? bench.handle,
    concurrency: options.concurrency,
    underWay: bench.underWay,
    metrics: bench.metrics,
    log: silentLog,
  });
  await queue.start();
  return { bench, queue };
}

describe("WorkQueue", () => {
  it("works on a key once, however often it was added before", async () => {
    const { bench, queue } = await started({ concurrency: 1 });
    for (const key of ["a", "b", "b", "b"]) queue.add(key);
    await settle();
    await bench.finish("a");
    await bench.finish("b");
    expect(bench.begun).toEqual(["a", "b"]);
  });

  it("works once more on a key that was added while it was worked on", async () => {
    const { bench, queue } = await started({ concurrency: 4 });
    queue.add("a");
    await settle();
    queue.add("a");
    queue.add("a");
    await settle();
    expect(bench.begun).toEqual(["a"]);
    await bench.finish("a");
    await bench.finish("a");
    expect(bench.begun).toEqual(["a", "a"]);
  });

  it("a handler that adds its own key at once is called again, never at the same time", async () => {
    let live = 0;
    let calls = 0;
    const { queue } = await started({
      concurrency: 4,
      handle: (key) => {
        calls += 1;
        live += 1;
        expect(live).toBe(1);
        if (calls < 3) queue.add(key);
        return Promise.resolve().then(() => {
          live -= 1;
          return undefined;
        });
      },
    });
    queue.add("a");
    await settle();
    expect(calls).toBe(3);
  });

  it("keeps to its concurrency and starves nobody", async () => {
    const { bench, queue } = await started({ concurrency: 3 });
    const keys = Array.from({ length: 10 }, (_, index) => `k${index}`);
    for (const key of keys) queue.add(key);
    await settle();
    for (const key of keys) await bench.finish(key);
    expect(bench.begun).toEqual(keys);
    expect(bench.mostAtOnce).toBe(3);
  });

  it("a key whose worker asks for it comes back after that time, or at once when something changes before", async () => {
    const looks: number[] = [];
    const { queue } = await started({
      concurrency: 1,
      handle: () => {
        looks.push(Date.now());
        return Promise.resolve(looks.length < 4 ? 5_000 : undefined);
      },
    });
    queue.add("a");
    await settle();
    await vi.advanceTimersByTimeAsync(5_000);
    queue.add("a");
    await settle();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(looks.map((at) => at - (looks[0] ?? 0))).toEqual([0, 5_000, 5_000, 10_000]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("a failed key comes back after a growing backoff of its own; success forgets it", async () => {
    let failing = true;
    const at: number[] = [];
    const { bench, queue } = await started({
      concurrency: 1,
      handle: () => {
        at.push(Date.now());
        return failing ? Promise.reject(new Error("no")) : Promise.resolve(undefined);
      },
    });
    queue.add("a");
    for (let turn = 0; turn < 6; turn += 1) await vi.advanceTimersToNextTimerAsync();
    const gaps = at.slice(1).map((time, index) => time - (at[index] ?? 0));
    for (const [index, gap] of gaps.entries()) {
      expect(gap).toBeGreaterThanOrEqual(125 * 2 ** index);
      expect(gap).toBeLessThanOrEqual(250 * 2 ** index + 1);
    }
    expect((await bench.metrics.reconcileFailures.get()).values).toMatchObject([{ value: at.length }]);
    failing = false;
    await vi.advanceTimersToNextTimerAsync();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("closed, it takes nothing and keeps nothing: a monitor that does not lead must not remember every Job it sees", async () => {
    const bench = new Bench();
    const queue = new WorkQueue({ ...bench, concurrency: 1, log: silentLog });
    queue.add("before");
    await queue.start();
    await settle();
    expect(bench.begun).toEqual([]);
    queue.add("a");
    queue.add("waiting");
    await settle();
    const stopping = queue.stop();
    queue.add("after");
    await bench.finish("a");
    await stopping;
    await queue.start();
    await settle();
    expect(bench.begun).toEqual(["a"]);
  });

  it("a key whose work does not end is a stall, though others go on; one that fails again and again is none", async () => {
    const { bench, queue } = await started({ concurrency: 4 });
    for (const key of ["stuck", "failing"]) queue.add(key);
    await settle();
    await bench.finish("failing", new Error("no"));
    await vi.advanceTimersByTimeAsync(59_000);
    expect(bench.underWay.problem()).toBeUndefined();
    await bench.finish("failing", new Error("no"));
    await vi.advanceTimersByTimeAsync(2_000);
    expect(bench.underWay.problem()).toBe("a piece of work has not ended for 61 s");
    await bench.finish("stuck");
    expect(bench.underWay.problem()).toBeUndefined();
    await bench.finish("failing");
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(bench.underWay.problem()).toBeUndefined();
    await queue.stop();
  });

  it("stop waits for what runs and begins nothing more", async () => {
    const { bench, queue } = await started({ concurrency: 1 });
    queue.add("a");
    queue.add("b");
    await settle();
    let stopped = false;
    const stopping = queue.stop().then(() => {
      stopped = true;
    });
    await settle();
    expect(stopped).toBe(false);
    await bench.finish("a", new Error("cut off"));
    await stopping;
    expect(bench.begun).toEqual(["a"]);
    expect(vi.getTimerCount()).toBe(0);
  });
});
