import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { batches } from "./batches.ts";

/** Delivers bursts, each in one turn of the event loop, and takes a few turns between them. */
async function* source(bursts: readonly (readonly number[])[]): AsyncGenerator<number> {
  for (const burst of bursts) {
    for (let turn = 0; turn < 3; turn += 1) await setImmediate();
    yield* burst;
  }
}
async function collect(bursts: readonly (readonly number[])[], max: number): Promise<number[][]> {
  const found: number[][] = [];
  for await (const batch of batches(source(bursts), max)) found.push(batch);
  return found;
}

describe("D2: batches of deliveries", () => {
  it("a lone item waits for nobody, a burst goes together, at most max", async () => {
    expect(await collect([[1], [2, 3, 4], [5, 6, 7, 8, 9]], 4)).toEqual([[1], [2, 3, 4], [5, 6, 7, 8], [9]]);
  });

  it("every item once and in order, whatever the bursts", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.nat(), { maxLength: 6 }), { maxLength: 6 }),
        fc.integer({ min: 1, max: 5 }),
        async (bursts, max) => {
          const found = await collect(bursts, max);
          expect(found.flat()).toEqual(bursts.flat());
          for (const batch of found) expect(batch.length >= 1 && batch.length <= max).toBe(true);
        },
      ),
      { numRuns: 50 },
    );
  });

  it("a batch that is there is handed on though nothing follows", async () => {
    const never = new Promise<never>(() => {});
    async function* stalled(): AsyncGenerator<number> {
      yield* [1, 2];
      await never;
    }
    for await (const batch of batches(stalled(), 10)) {
      expect(batch).toEqual([1, 2]);
      break;
    }
  });

  it("a source that breaks breaks it", async () => {
    async function* broken(): AsyncGenerator<number> {
      yield 1;
      throw new Error("gone");
    }
    const seen: number[][] = [];
    const reading = (async () => {
      for await (const batch of batches(broken(), 1)) seen.push(batch);
    })();
    await expect(reading).rejects.toThrow("gone");
    expect(seen).toEqual([[1]]);
  });
});
