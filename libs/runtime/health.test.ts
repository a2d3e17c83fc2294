import { beforeEach, describe, expect, it } from "vitest";
import { Heartbeat, WorkUnderWay } from "./health.ts";

let clockMs: number;
let freeForMs: number;
const options = { stallAfterMs: 10_000, nowMs: () => clockMs, freeForMs: () => freeForMs };
beforeEach(() => {
  clockMs = 1_000;
  freeForMs = Number.POSITIVE_INFINITY;
});

describe("Heartbeat", () => {
  it("is a problem only after it was silent for too long", () => {
    const beat = new Heartbeat("sweep", options);
    beat.beat();
    clockMs += 10_000;
    expect(beat.problem()).toBeUndefined();
    clockMs += 1_000;
    expect(beat.problem()).toBe("no progress for 11 s");
    beat.beat();
    expect(beat.problem()).toBeUndefined();
  });

  it("a loop that has not begun, or has ended, does not stall", () => {
    const beat = new Heartbeat("sweep", options);
    clockMs += 60_000;
    expect(beat.problem()).toBeUndefined();
    beat.beat();
    beat.rest();
    clockMs += 60_000;
    expect(beat.problem()).toBeUndefined();
  });

  it("a loop that waits for something outside does not stall, and has its whole time again afterwards", () => {
    const beat = new Heartbeat("sweep", options);
    beat.beat();
    freeForMs = 0;
    clockMs += 3_600_000;
    expect(beat.problem()).toBeUndefined();
    freeForMs = 9_000;
    expect(beat.problem()).toBeUndefined();
    freeForMs = 12_000;
    expect(beat.problem()).toBe("no progress for 12 s");
  });
});

describe("WorkUnderWay", () => {
  it("is a problem when the oldest piece has not ended for too long, though others come and go", () => {
    const work = new WorkUnderWay("work-queue", options);
    const end = work.begin();
    for (let passed = 0; passed < 11; passed += 1) {
      const endOther = work.begin();
      clockMs += 1_000;
      endOther();
    }
    work.begin();
    expect(work.problem()).toBe("a piece of work has not ended for 11 s");
    end();
    expect(work.problem()).toBeUndefined();
  });

  it("nothing under way is no stall, however long", () => {
    const work = new WorkUnderWay("work-queue", options);
    work.begin()();
    clockMs += 3_600_000;
    expect(work.problem()).toBeUndefined();
  });

  it("what waits for something outside does not stall", () => {
    const work = new WorkUnderWay("work-queue", options);
    work.begin();
    freeForMs = 0;
    clockMs += 3_600_000;
    expect(work.problem()).toBeUndefined();
  });
});
