import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EFFECT_OF_CLASS, FAILURE_CLASSES, type FailureClass } from "./failure-class.ts";
import type { JobRecord } from "./record.ts";
import { type RetryPolicy, retryDecision } from "./retry.ts";
import { retryConfig } from "./retry-config.ts";
import { JOB, recordIn } from "./testing/records.ts";
import { transition } from "./transition.ts";
import type { Failed } from "./verdict.ts";

const RUNS = { seed: 20_261_122, numRuns: 300 } as const;
const at = "2026-01-01T00:00:00.000Z";
/** In the middle of the jitter: the pause is just what the configuration says. */
const EXACT = 0.5;

const failed = (failureClass: FailureClass, rest: Partial<Failed> = {}): Failed => ({
  kind: "failed",
  class: failureClass,
  reason: "it failed",
  endedAt: at,
  ...rest,
});
const oom = (memoryLimit: string): Failed => failed("oom", { container: "main", memoryLimit, exitCode: 137 });
type Given = Omit<Partial<RetryPolicy>, "config"> & { readonly config?: Parameters<typeof retryConfig.parse>[0] };
const policy = ({ config = {}, ...rest }: Given = {}): RetryPolicy => ({
  attempts: undefined,
  final: undefined,
  blocked: false,
  random: EXACT,
  ...rest,
  config: retryConfig.parse(config),
});
const ranTo = (attempt: number, rest: Partial<JobRecord> = {}): JobRecord =>
  recordIn("running", { attempt, attempts: [{ n: attempt, uid: "u" }], ...rest });
const counts = (free: number, blocked = 0): Pick<JobRecord, "counts"> => ({ counts: { free, blocked, refused: 0 } });

describe("design §4.5: what each class does", () => {
  const RETRY_AT_COST = { kind: "retry", free: false, delayMs: 10_000, memory: undefined };
  const RETRY_FREE = { kind: "retry", free: true, delayMs: 10_000, memory: undefined };
  const MORE_MEMORY = { kind: "retry", free: false, delayMs: 10_000, memory: { main: "48Mi" } };
  const DEAD = { kind: "dead", why: "" };
  const table: Readonly<Record<FailureClass, object>> = {
    oom: MORE_MEMORY,
    evicted: RETRY_FREE,
    preempted: RETRY_FREE,
    nodeLost: RETRY_FREE,
    lost: RETRY_FREE,
    neverStarted: RETRY_FREE,
    deadline: RETRY_AT_COST,
    exit: RETRY_AT_COST,
    image: DEAD,
    containerConfig: DEAD,
    deleted: DEAD,
    refused: DEAD,
    cancelled: DEAD,
  };
  it.each(FAILURE_CLASSES)("%s", (failureClass) => {
    const verdict = failed(failureClass, { container: "main", memoryLimit: "32Mi" });
    expect(retryDecision(recordIn("running"), verdict, policy())).toEqual(table[failureClass]);
  });

  it.each(FAILURE_CLASSES)("a queue may say otherwise of %s", (failureClass) => {
    const decide = (effect: string) =>
      retryDecision(recordIn("running"), failed(failureClass), policy({ config: { classes: { [failureClass]: effect } } }));
    expect(decide("dead")).toEqual(DEAD);
    expect(decide("free")).toEqual(RETRY_FREE);
    expect(decide("budget")).toEqual(RETRY_AT_COST);
  });

  it("exit 64 is dead at once, other codes are not, and a queue may name its own", () => {
    const exit = (exitCode: number, config = {}) =>
      retryDecision(recordIn("running"), failed("exit", { exitCode }), policy({ config })).kind;
    expect([exit(64), exit(63), exit(65)]).toEqual(["dead", "retry", "retry"]);
    const own = { nonRetryableExitCodes: [3] };
    expect([exit(64, own), exit(3, own)]).toEqual(["retry", "dead"]);
  });

  it("an exit code counts for the class exit only: exit 64 of a pod that was evicted is nobody's fault", () => {
    expect(retryDecision(recordIn("running"), failed("evicted", { exitCode: 64 }), policy()).kind).toBe("retry");
  });
});

describe("the budget", () => {
  it("three attempts unless the queue says otherwise, and the last one says how many there were", () => {
    const kinds = [1, 2, 3].map((attempt) => retryDecision(ranTo(attempt), failed("exit"), policy()));
    expect(kinds).toMatchObject([{ kind: "retry" }, { kind: "retry" }, { kind: "dead", why: "all 3 attempts are used up" }]);
    expect(retryDecision(ranTo(3), failed("exit"), policy({ config: { attempts: 4 } })).kind).toBe("retry");
  });

  it("the message's own number wins, also where it is greater; backoffLimit 0 is one attempt", () => {
    expect(retryDecision(ranTo(1), failed("exit"), policy({ attempts: 1 }))).toEqual({ kind: "dead", why: "its only attempt" });
    expect(retryDecision(ranTo(3), failed("exit"), policy({ attempts: 5 })).kind).toBe("retry");
    expect(retryDecision(ranTo(5), failed("exit"), policy({ attempts: 5 })).kind).toBe("dead");
  });

  it("counts from where the life began", () => {
    expect(retryDecision(ranTo(9, { budgetFrom: 8 }), failed("exit"), policy()).kind).toBe("retry");
    expect(retryDecision(ranTo(10, { budgetFrom: 8 }), failed("exit"), policy()).kind).toBe("dead");
  });

  it("is not touched by free attempts, nor by those of a blocked queue", () => {
    expect(retryDecision(ranTo(5, counts(2)), failed("exit"), policy()).kind).toBe("dead");
    expect(retryDecision(ranTo(5, counts(3)), failed("exit"), policy()).kind).toBe("retry");
    expect(retryDecision(ranTo(9, counts(3, 4)), failed("exit"), policy()).kind).toBe("retry");
    expect(retryDecision(ranTo(10, counts(3, 4)), failed("exit"), policy()).kind).toBe("dead");
  });

  it("nothing is tried again when the policy says so, whatever the class", () => {
    for (const failureClass of FAILURE_CLASSES) {
      const decision = retryDecision(recordIn("running"), failed(failureClass), policy({ final: "its queue is gone" }));
      expect(decision).toEqual({ kind: "dead", why: "its queue is gone" });
    }
  });
});

describe("free retries", () => {
  const free = (taken: number, rest: Given = {}) =>
    retryDecision(ranTo(taken + 1, counts(taken)), failed("evicted"), policy(rest));

  it("have a cap of their own", () => {
    expect(free(19).kind).toBe("retry");
    expect(free(20)).toEqual({ kind: "dead", why: expect.stringContaining("freeLimit") });
    expect(free(0, { config: { freeLimit: 0 } }).kind).toBe("dead");
  });

  it("are tried for ever while the queue is blocked", () => {
    expect(free(20, { blocked: true }).kind).toBe("retry");
    expect(retryDecision(ranTo(1000, counts(20, 979)), failed("neverStarted"), policy({ blocked: true })).kind).toBe("retry");
  });

  it("pause twice as long each time, up to a maximum, and without end no longer", () => {
    const pauses = [0, 1, 2, 3, 4, 5, 6].map((taken) => free(taken)).map((decision) => "delayMs" in decision && decision.delayMs);
    expect(pauses).toEqual([10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    const many = retryDecision(ranTo(5001, counts(0, 5000)), failed("lost"), policy({ blocked: true }));
    expect(many).toMatchObject({ delayMs: 300_000 });
    const none = { freeBackoff: { initial: "0s" } };
    const never = retryDecision(ranTo(5001, counts(0, 5000)), failed("lost"), policy({ blocked: true, config: none }));
    expect(never).toMatchObject({ delayMs: 0 });
  });
});

describe("the pauses", () => {
  const pauseAt = (attempt: number, config: object, random = EXACT): number => {
    const decision = retryDecision(ranTo(attempt), failed("exit"), policy({ config: { attempts: 1000, ...config }, random }));
    return decision.kind === "retry" ? decision.delayMs : -1;
  };

  it("grow by the factor up to the maximum", () => {
    expect([1, 2, 3, 4].map((n) => pauseAt(n, {}))).toEqual([10_000, 20_000, 40_000, 80_000]);
    const config = { backoff: { initial: "1s", factor: 3, max: "5s" } };
    expect([1, 2, 3, 900].map((n) => pauseAt(n, config))).toEqual([1_000, 3_000, 5_000, 5_000]);
  });

  it("may be listed instead; the last one repeats", () => {
    const config = { backoff: { delays: ["1s", "1m", "5s"] } };
    expect([1, 2, 3, 4, 50].map((n) => pauseAt(n, config))).toEqual([1_000, 60_000, 5_000, 5_000, 5_000]);
    expect(pauseAt(1, { backoff: { delays: [] } })).toBe(10_000);
  });

  it("are varied by a fifth at most, and do vary", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.integer({ min: 1, max: 900 }),
        fc.constantFrom({}, { backoff: { initial: "0s", factor: 1e300 } }, { backoff: { factor: 1e300, max: "30d" } }),
        (random, attempt, config) => {
          const exact = pauseAt(attempt, config);
          const pause = pauseAt(attempt, config, random);
          expect(Number.isSafeInteger(pause)).toBe(true);
          expect(pause).toBeGreaterThanOrEqual(Math.floor(exact * 0.8));
          expect(pause).toBeLessThanOrEqual(Math.ceil(exact * 1.2));
        },
      ),
      RUNS,
    );
    expect([pauseAt(1, {}, 0), pauseAt(1, {}, 0.999_999)]).toEqual([8_000, 12_000]);
  });
});

describe("memory after OOM", () => {
  /** Runs the real life of a job that always needs more than it has. */
  function life(config: Parameters<typeof retryConfig.parse>[0]): { given: string[]; last: JobRecord } {
    let record = recordIn("running");
    let limit = "32Mi";
    const given = [limit];
    for (;;) {
      const { attempt } = record;
      const ended = transition(record, {
        kind: "attemptEnded",
        attempt,
        uid: record.job?.uid ?? "",
        verdict: oom(limit),
        policy: policy({ config }),
        at,
      });
      if (ended.kind !== "moved") throw new Error("the verdict was refused");
      const { next } = ended.record;
      if (next === undefined) return { given, last: ended.record };
      limit = next.memory?.["main"] ?? limit;
      given.push(limit);
      const { id, hash, queue, type, messageHash } = record;
      const seen = transition(ended.record, {
        kind: "firstSight",
        ...{ id, hash, queue, type, messageHash, life: 1, at },
        source: { stream: "RETRY", seq: next.attempt, storedAt: "1" },
        attempt: next.attempt,
        job: { ...JOB, uid: `uid-${next.attempt}` },
      });
      if (seen.kind !== "moved") throw new Error("the first sight was refused");
      record = seen.record;
    }
  }

  it("32 → 48 → 72 → 108Mi in four attempts, and then the budget is spent", () => {
    const { given, last } = life({ attempts: 4 });
    expect(given).toEqual(["32Mi", "48Mi", "72Mi", "108Mi"]);
    expect(last).toMatchObject({ state: "dead", attempt: 4, reason: "it failed; all 4 attempts are used up" });
  });

  it("dead at the limit, with attempts left: another one would end the same way", () => {
    const { given, last } = life({ attempts: 10, oom: { limit: "100Mi" } });
    expect(given).toEqual(["32Mi", "48Mi", "72Mi", "100Mi"]);
    expect(last).toMatchObject({ state: "dead", reason: "it failed; it had 100Mi, and retry.oom.limit is 100Mi" });
    expect(last.attempts.at(-1)).toMatchObject({ class: "oom", memory: { main: "100Mi" } });
  });

  it("a kill that is only taken for OOM is tried again at the limit, too, for it may have been another", () => {
    const atLimit = { ...oom("4Gi"), presumed: true } as const;
    expect(retryDecision(ranTo(1), atLimit, policy())).toMatchObject({ kind: "retry", free: false });
    expect(retryDecision(ranTo(1), oom("4Gi"), policy())).toMatchObject({ kind: "dead" });
  });

  it("stays when a later attempt fails for another reason, and each container has its own", () => {
    const record = ranTo(2, { attempts: [{ n: 2, uid: "u", memory: { main: "48Mi", side: "1Gi" } }] });
    const memory = { main: "48Mi", side: "1Gi" };
    expect(retryDecision(record, failed("exit"), policy())).toMatchObject({ memory });
    expect(retryDecision(record, failed("evicted"), policy())).toMatchObject({ memory });
    expect(retryDecision(record, oom("48Mi"), policy())).toMatchObject({ memory: { main: "72Mi", side: "1Gi" } });
  });

  it("without a limit of its own the container is only tried again: its node ran out, and more may not help", () => {
    expect(retryDecision(recordIn("running"), failed("oom", { container: "main" }), policy())).toEqual({
      kind: "retry",
      free: false,
      delayMs: 10_000,
      memory: undefined,
    });
  });

  it("the table of effects names every class once", () => {
    expect(Object.keys(EFFECT_OF_CLASS).toSorted()).toEqual([...FAILURE_CLASSES].toSorted());
  });
});
