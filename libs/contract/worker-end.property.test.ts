import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ContainerEnd, type ProcessEnd, processEnd, type WorkerPod } from "./worker-end.ts";

const RUNS = { seed: 20_261_129, numRuns: 2_000 } as const;
const BEGIN_MS = Date.UTC(2026, 0, 1);

/** What really happens in one life of a container. */
interface Plan {
  /** Since the end of the one before. */
  readonly pauseMs: number;
  /** From the start of the program until the runtime notes it. */
  readonly notedAfterMs: number;
  /** Until its process knows when it began. */
  readonly bootMs: number;
  readonly lastsMs: number;
  /** By how much the node's clock is set before it. */
  readonly setMs: number;
}

/** The same, by the node's clock. */
interface Life {
  readonly bootedAtMs: number;
  readonly startedAt: string;
  readonly end: ContainerEnd;
}

const plans = (limits: { pauseMs: number; notedMs: number; lastsMs: number; setMs: number }) =>
  fc.array(
    fc.record<Plan>({
      pauseMs: fc.integer({ min: limits.pauseMs, max: 12_000 }),
      notedAfterMs: fc.integer({ min: 0, max: limits.notedMs }),
      bootMs: fc.integer({ min: 1, max: 20 }),
      lastsMs: fc.integer({ min: limits.lastsMs, max: 5_000 }),
      setMs: fc.integer({ min: -limits.setMs, max: limits.setMs }),
    }),
    { minLength: 1, maxLength: 5 },
  );
const wholeSeconds = (atMs: number): string => new Date(Math.floor(atMs / 1_000) * 1_000).toISOString();

function lived(planned: readonly Plan[]): Life[] {
  let nowMs = BEGIN_MS;
  return planned.map(({ pauseMs, notedAfterMs, bootMs, lastsMs, setMs }, index) => {
    const beganMs = nowMs + pauseMs + setMs;
    nowMs = beganMs + Math.max(lastsMs, notedAfterMs, bootMs + 1);
    const startedAt = wholeSeconds(beganMs + notedAfterMs);
    const end = { exitCode: index + 1, reason: "Error", startedAt, finishedAt: wholeSeconds(nowMs) };
    return { bootedAtMs: beganMs + bootMs, startedAt, end };
  });
}

/** What the kubelet says of the container while life number `index` lasts, and after it: it remembers the end before, and no other. */
function told(lives: readonly Life[], index: number, state: "running" | "ended" | "waiting"): WorkerPod {
  const known = { namespace: "millrace", name: "resize-1", uid: "u", worker: "resize", phase: "Running", reason: "" };
  const ends = (...indexes: number[]): ContainerEnd[] => indexes.flatMap((one) => lives[one]?.end ?? []);
  if (state === "running") return { ...known, runningSince: lives[index]?.startedAt ?? "", ends: ends(index - 1) };
  return { ...known, ends: state === "ended" ? ends(index - 1, index) : ends(index) };
}
const STATES = ["running", "ended", "waiting"] as const;
const judged = (view: WorkerPod, { bootedAtMs }: Life): ProcessEnd | undefined =>
  processEnd(view, false, { bootedAtMs, isOthersOverrun: false, key: "WORK.worker-resize.1" });

/** Everything that a status may say at some time of every process there ever is. */
function* judgements(lives: readonly Life[]) {
  for (const index of lives.keys()) {
    for (const state of STATES) {
      const view = told(lives, index, state);
      for (const [number, life] of lives.entries()) {
        const hasEnded = number < index || (number === index && state !== "running");
        yield { view, hasEnded, isLast: number === index, life, judged: judged(view, life) };
      }
    }
  }
}

describe("W1: of any number of lives of a container, started anew however quickly", () => {
  it("no process is seen to have ended that has not, also by a status that is older than it", () => {
    const property = fc.property(plans({ pauseMs: 1, notedMs: 900, lastsMs: 1, setMs: 0 }), (planned) => {
      for (const { hasEnded, judged: end } of judgements(lived(planned))) if (!hasEnded) expect(end?.isSeen).not.toBe(true);
    });
    fc.assert(property, RUNS);
  });

  it("nor on a node whose clock is set between them", () => {
    const property = fc.property(plans({ pauseMs: 1, notedMs: 0, lastsMs: 1, setMs: 3_600_000 }), (planned) => {
      const lives = lived(planned);
      for (const [index, life] of lives.entries()) expect(judged(told(lives, index, "running"), life)?.isSeen).not.toBe(true);
    });
    fc.assert(property, RUNS);
  });

  it("one that runs is not even in doubt, unless the one before ended in the same second", () => {
    const property = fc.property(plans({ pauseMs: 1_000, notedMs: 900, lastsMs: 1, setMs: 0 }), (planned) => {
      const lives = lived(planned);
      for (const [index, life] of lives.entries()) expect(judged(told(lives, index, "running"), life)).toBeUndefined();
    });
    fc.assert(property, RUNS);
  });

  it("one that has ended is at least in doubt, and seen when it lasted for a second", () => {
    const property = fc.property(plans({ pauseMs: 1, notedMs: 100, lastsMs: 1, setMs: 0 }), (planned) => {
      for (const { hasEnded, life, judged: end } of judgements(lived(planned))) {
        if (!hasEnded) continue;
        const isLong = life.bootedAtMs + 1_000 <= Date.parse(life.end.finishedAt ?? "");
        expect(end).toMatchObject(isLong ? { isSeen: true } : { isSeen: expect.any(Boolean) });
      }
    });
    fc.assert(property, RUNS);
  });

  it("each has its own end, unless two are told to have begun in one second", () => {
    const property = fc.property(plans({ pauseMs: 300, notedMs: 100, lastsMs: 800, setMs: 0 }), (planned) => {
      for (const { hasEnded, isLast, life, judged: end } of judgements(lived(planned))) {
        if (hasEnded && isLast) expect(end?.reason).toBe(`its process exited with code ${life.end.exitCode}`);
      }
    });
    fc.assert(property, RUNS);
  });
});
