import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { Backoff, pause } from "./backoff.ts";

describe("Backoff", () => {
  it("doubles from the first delay to the longest, jittered over its upper half", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (random) => {
        const backoff = new Backoff({ initialMs: 100, maxMs: 1_000, random: () => random });
        for (const ceiling of [100, 200, 400, 800, 1_000, 1_000])
          expect(backoff.nextMs()).toBe(ceiling / 2 + (ceiling / 2) * random);
      }),
    );
  });

  it("starts again after reset, and never overflows", () => {
    const backoff = new Backoff({ initialMs: 100, maxMs: 1_000, random: () => 0 });
    for (let failure = 0; failure < 2_000; failure += 1) expect(backoff.nextMs()).toBeLessThanOrEqual(500);
    backoff.reset();
    expect(backoff.nextMs()).toBe(50);
  });
});

describe("pause", () => {
  it("ends when the time is over, or at once when aborted, and leaves neither timer nor listener", async () => {
    vi.useFakeTimers();
    try {
      const stop = new AbortController();
      const remove = vi.spyOn(stop.signal, "removeEventListener");
      const short = pause(1_000, stop.signal);
      await vi.advanceTimersByTimeAsync(1_000);
      await short;
      const long = pause(1_000_000, stop.signal);
      stop.abort();
      await long;
      await pause(1_000_000, stop.signal);
      expect(vi.getTimerCount()).toBe(0);
      expect(remove).toHaveBeenCalledTimes(2);
    } finally {
      vi.useRealTimers();
    }
  });
});
