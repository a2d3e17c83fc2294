import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { BUCKET, bucketStream } from "../../libs/contract/streams.ts";
import { endedClaim } from "../../libs/contract/work-claim.ts";
import { workItem, workRetryHeaders } from "../../libs/contract/work-message.ts";
import { workRunSubject } from "../../libs/contract/work-subjects.ts";
import type { Broker, Publication, PublishOutcome } from "../../libs/streams/broker.ts";
import { CrashPoint } from "../../libs/streams/testing/crashing.ts";
import { LATER, WorkerBench } from "../testing/worker-bench.ts";
import { type Handler, NonRetryable } from "./index.ts";

const STEPS = 16;
const CASES = (["before", "after"] as const).flatMap((when) =>
  Array.from({ length: STEPS }, (_, index) => ({ at: index + 1, when })),
);

let bench: WorkerBench;
let named = 0;
beforeAll(async () => {
  bench = await WorkerBench.open(
    Array.from({ length: 4 * CASES.length + 6 }, (_, index) => `w${index}`),
    3_000,
  );
});
afterEach(() => bench.stopAll());
afterAll(() => bench[Symbol.asyncDispose]());

/** A claim that is only renewed is no step of its own: how often that is depends on how slow the machine is. */
function crashing(broker: Broker, crash: CrashPoint): Broker {
  const wrapped = crash.wrap(broker);
  const written = new Map<string, Publication["body"]>();
  const publish = (publication: Publication): Promise<PublishOutcome> => {
    const { stream, subject, body } = publication;
    const isRenewal = stream === bucketStream(BUCKET.claims) && written.get(subject) === body;
    written.set(subject, body);
    return (isRenewal && !crash.crashed ? broker : wrapped).publish(publication);
  };
  return new Proxy(wrapped, {
    get: (target, key) => (key === "publish" ? publish : Reflect.get(target, key)),
  });
}

interface Story {
  readonly at: number;
  readonly when: "before" | "after";
  readonly name: string;
  readonly crashed: boolean;
  readonly attempts: readonly number[];
}

/**
 * A process that dies at a step of its broker, whichever; then another one, whom nobody tells anything, does the rest. Everything at once: each
 * lasts as long as ack_wait. `asleep`: how many messages are to be left, which sleep.
 */
async function stories(handler: Handler<unknown>, asleep = 0): Promise<Story[]> {
  return Promise.all(
    CASES.map(async ({ at, when }) => {
      const name = `w${named++}`;
      const attempts: number[] = [];
      const crash = new CrashPoint({ at, when });
      const isOver = (left: readonly string[]): boolean =>
        left.length === asleep && left.every((of) => of.startsWith("work.at."));
      const plan = {
        isLight: true,
        ...(asleep === 0 ? {} : { env: { MILLRACE_RETRY: LATER } }),
        handler: (ctx: Parameters<Handler<unknown>>[0]) => {
          attempts.push(ctx.attempt);
          return handler(ctx);
        },
      };
      await bench.publish(`${name}.one`, {});
      const dying = bench.start(name, { ...plan, broker: (broker) => crashing(broker, crash) });
      await bench.until(
        async () => crash.crashed || isOver(await bench.left(name)),
        (isEnd) => isEnd,
        60_000,
      );
      dying.stop();
      dying.force();
      await dying.ended;
      bench.start(name, plan);
      await bench.until(() => bench.left(name), isOver, 60_000);
      return { at, when, name, crashed: crash.crashed, attempts };
    }),
  );
}

/** Otherwise there may be steps at which nothing was tried. */
function expectEveryStep(told: readonly Story[]): void {
  expect(told.filter(({ crashed }) => crashed).length).toBeGreaterThan(4);
  expect(told.filter(({ at, crashed }) => at === STEPS && crashed)).toEqual([]);
}

describe("W1, S2: a process that dies at any step", () => {
  it("K8: of a failure: no attempt is made twice, the retry is made, and nothing is left", async () => {
    const told = await stories(({ attempt }) => {
      if (attempt === 1) throw new Error("once");
    });
    expectEveryStep(told);
    for (const { attempts, ...story } of told) expect(attempts, JSON.stringify(story)).toEqual([...new Set(attempts)]);
    // The third: one that died in the second one's success.
    for (const { attempts, ...story } of told) expect([2, 3], JSON.stringify(story)).toContain(attempts.at(-1));
    for (const { name } of told) expect(await bench.deadLetters(name)).toEqual([]);
  }, 120_000);

  it("K8: of a failure whose retry sleeps: it sleeps once, and nothing runs beside it", async () => {
    const told = await stories(() => {
      throw new Error("always");
    }, 1);
    expectEveryStep(told);
    for (const { name, attempts, ...story } of told) {
      expect(attempts, JSON.stringify(story)).toEqual([...new Set(attempts)]);
      expect(await bench.left(name), JSON.stringify(story)).toEqual([`work.at.${name}.${(attempts.at(-1) ?? 0) + 1}`]);
      expect(await bench.lag(name)).toBe(0);
    }
  }, 120_000);

  it("K8: of a message that is dead: it has one entry in the DLQ", async () => {
    const told = await stories(() => {
      throw new NonRetryable("never");
    });
    expectEveryStep(told);
    for (const { name, attempts, ...story } of told) {
      const entries = await bench.deadLetters(name);
      expect(
        entries.map(({ header }) => header(DLQ_HEADER.class)),
        JSON.stringify(story),
      ).toEqual(["nonRetryable"]);
      expect(attempts, JSON.stringify(story)).toEqual([...new Set(attempts)]);
    }
  }, 120_000);

  it("of a success: the handler is called again at most once, and nothing is left", async () => {
    const told = await stories(() => {});
    expectEveryStep(told);
    for (const { name, attempts, ...story } of told) {
      expect(attempts, JSON.stringify(story)).toEqual([...new Set(attempts)]);
      expect(attempts.length, JSON.stringify(story)).toBeLessThanOrEqual(2);
      expect(await bench.deadLetters(name)).toEqual([]);
    }
  }, 120_000);
});

describe("W1: what the monitor says of a process that ended", () => {
  it("counts: out of memory burns an attempt, and the message sleeps before the next one", async () => {
    const name = `w${named++}`;
    const stuck = Promise.withResolvers<void>();
    const running = bench.start(name, { isLight: true, handler: () => stuck.promise });
    await bench.publish(`${name}.one`, {});
    const { key, claim, revision } = await bench.claimOf(name);
    const swapped = await bench.claims.swap(key, endedClaim(claim, { class: "oom", reason: "out of memory" }), revision);
    expect(swapped.kind).toBe("won");
    await bench.deliverAgain(name);
    const other = bench.start(name, {
      env: { MILLRACE_RETRY: JSON.stringify({ backoff: { delays: ["1h"] } }) },
      handler: () => {},
    });
    const [line] = await other.log.until("message.retried");
    expect(line).toMatchObject({ attempt: 1, class: "oom", reason: "out of memory" });
    expect(await bench.left(name)).toEqual([`work.at.${name}.2`]);
    expect(await bench.claimed(name)).toEqual([]);
    // The one that was taken for dead has lost it.
    stuck.resolve();
    await running.log.until("message.lost");
    expect(await bench.left(name)).toEqual([`work.at.${name}.2`]);
  });
});

/** A process that dies before each of its acknowledgements. */
function withoutAcknowledgements(broker: Broker): Broker {
  return new Proxy(broker, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key, target);
      if (key === "acknowledge") return () => Promise.reject(new Error("crashed"));
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

describe("S2: a retry that is settled and not run", () => {
  it("takes what it is the retry of with it, or that one would be retried beside it", async () => {
    const name = `w${named++}`;
    const dying = bench.start(name, {
      isLight: true,
      broker: withoutAcknowledgements,
      handler: () => {
        throw new Error("always");
      },
    });
    await bench.publish(`${name}.one`, {});
    await bench.until(
      () => bench.left(name),
      (left) => left.length === 2,
    );
    const [subject = ""] = Object.keys(await bench.streams.counts("WORK_RETRY", `work.run.${name}.>`));
    const retry = await bench.streams.store.broker.last("WORK_RETRY", subject);
    const ended = { class: "oom", reason: "out of memory" } as const;
    const ack = `$JS.ACK.WORK_RETRY.worker-${name}.1.${retry?.seq}.1.${retry?.storedAt}.0`;
    await bench.claims.swap(
      `WORK_RETRY.worker-${name}.${retry?.seq}`,
      { worker: name, delivery: 1, ack, failures: 1, free: 0, ended },
      0,
    );
    dying.stop();
    dying.force();
    await dying.ended;
    const other = bench.start(name, { env: { MILLRACE_RETRY: LATER }, handler: () => {} });
    await other.log.until("message.retried");
    expect(await bench.left(name)).toEqual([`work.at.${name}.3`]);
  });
});

describe("N4: a retry's header", () => {
  it("has a worker remove nothing that is not its own", async () => {
    const name = `w${named++}`;
    const { broker } = bench.streams.store;
    const dlq = { stream: "DLQ", subject: `dlq.work.${name}.kept`, headers: {}, body: "evidence", expectedLastSequence: 0 };
    await broker.publish(dlq);
    const kept = await broker.last("DLQ", dlq.subject);
    if (kept === undefined) throw new Error("the DLQ did not keep it");
    await bench.publish(`${name}.one`, {});
    const fresh = await broker.last("WORK", `${name}.one`);
    const item = fresh && workItem(name, fresh);
    if (item === undefined) throw new Error("WORK did not keep it");
    const predecessor = `$JS.ACK.DLQ.worker-${name}.1.${kept.seq}.1.${kept.storedAt}.0`;
    await broker.publish({
      stream: "WORK_RETRY",
      subject: workRunSubject(name, item.hash, 2),
      headers: workRetryHeaders({ ...item, failures: 1, predecessor }),
      body: "{}",
      expectedLastSequence: 0,
    });
    const { log } = bench.start(name, { handler: () => {} });
    await log.until("message.succeeded", 2);
    expect(await broker.last("DLQ", dlq.subject)).toMatchObject({ seq: kept.seq });
  });
});
