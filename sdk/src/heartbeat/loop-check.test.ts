import { describe, expect, it } from "vitest";
import { LoopCheck } from "./loop-check.ts";
import { LoopWatch } from "./loop-pulse.ts";

function watched() {
  const memory = new SharedArrayBuffer(4);
  const watch = new LoopWatch({ memory, nowMs: 0 });
  const beat = (): void => void Atomics.add(new Int32Array(memory), 0, 1);
  /** Looks every 250 ms. */
  const lookUntil = (fromMs: number, toMs: number): void => {
    for (let nowMs = fromMs; nowMs <= toMs; nowMs += 250) watch.look(nowMs);
  };
  return { watch, beat, lookUntil };
}

describe("LoopWatch", () => {
  it("measures the silence since the last beat, and none while there are beats", () => {
    const { watch, beat, lookUntil } = watched();
    beat();
    lookUntil(250, 1_250);
    expect(watch.blockedMs).toBe(0);
    lookUntil(1_500, 5_250);
    expect(watch.blockedMs).toBe(5_000);
    beat();
    watch.look(5_500);
    expect(watch.blockedMs).toBe(0);
  });

  it("does not hold against the loop the time in which the whole process stood still", () => {
    const { watch, beat } = watched();
    beat();
    watch.look(250);
    watch.look(3_600_000);
    expect(watch.blockedMs).toBeLessThanOrEqual(2_000);
  });
});

describe("LoopCheck", () => {
  const check = (blockedMs: number, hasTime: boolean): LoopCheck =>
    new LoopCheck({ blockedMs: () => blockedMs, hasTime: () => hasTime });

  it("a loop that a handler holds up lives for as long as that handler has time, and says that it is busy", () => {
    expect(check(3_600_000, true).problem()).toBeUndefined();
    expect(check(3_600_000, true).notes()).toEqual(["busy: event loop blocked for 3600 s"]);
    expect(check(0, true).notes()).toEqual([]);
  });

  it("a loop that stands still beyond that, or for a minute with no handler, does not live", () => {
    expect(check(59_000, false).problem()).toBeUndefined();
    expect(check(61_000, false).problem()).toBe("blocked for 61 s, longer than any handler may take");
  });
});
