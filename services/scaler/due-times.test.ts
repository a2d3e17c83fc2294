import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { DueTimes } from "./due-times.ts";

let fired: number[];
let due: DueTimes;
beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
  fired = [];
  due = new DueTimes({ nowMs: Date.now, onDue: () => void fired.push(Date.now()) });
});
afterEach(() => {
  due.clear();
  vi.useRealTimers();
});

it("calls once for each time, in whatever order they came, and never before it", async () => {
  for (const atMs of [5_000, 1_000, 3_000]) due.add(atMs);
  await vi.advanceTimersByTimeAsync(999);
  expect(fired).toEqual([]);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(fired).toEqual([1_000, 3_000, 5_000]);
});

it("those that are near to each other are one, at the later end", async () => {
  for (let atMs = 1_001; atMs <= 1_050; atMs += 1) due.add(atMs);
  expect(due.size).toBe(1);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(fired).toEqual([1_050]);
});

it("what is past already is due at once", async () => {
  due.add(-5_000);
  await vi.advanceTimersByTimeAsync(1);
  expect(fired).toHaveLength(1);
});

it("what is farther off than any timer can wait comes on time all the same", async () => {
  const days = 40 * 86_400_000;
  due.add(days);
  await vi.advanceTimersByTimeAsync(days - 1);
  expect(fired).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(fired).toEqual([days]);
});

it("keeps ten thousand times, the nearest ones", () => {
  for (let index = 20_000; index > 0; index -= 1) due.add(index * 1_000);
  expect(due.size).toBe(10_000);
  expect(due.next).toBe(1_000);
});

it("cleared, it calls no more", async () => {
  due.add(1_000);
  due.clear();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(fired).toEqual([]);
});
