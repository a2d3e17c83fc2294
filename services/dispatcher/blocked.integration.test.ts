import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { ANNOTATION } from "../../libs/contract/names.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { KubeApiError } from "../../libs/kube/errors.ts";
import type { Delivered } from "../../libs/streams/testing/workbench.ts";
import { ACK_WAIT_MS, DispatcherBench, hashOf, hello, QUEUE, rawIn } from "../testing/dispatcher-bench.ts";
import type { Refusal } from "../testing/fake-cluster.ts";
import { pulledMessage } from "./delivery.ts";

let bench: DispatcherBench;
beforeAll(async () => {
  bench = await DispatcherBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(() => bench.reset());

const PROBE_MS = 5_000;
const FORBIDDEN: Refusal = { status: 403, reason: "Forbidden", message: "jobs.batch is forbidden: policy" };
const QUOTA: Refusal = { ...FORBIDDEN, message: 'jobs.batch "x" is forbidden: exceeded quota: q, requested: count/jobs.batch=1' };
const UNAVAILABLE: Refusal = { status: 503, reason: "ServiceUnavailable", message: "" };
const until = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 10_000 });
/** Time passes in steps, so that a probe which is under way is waited for; all of them are shorter than ack_wait. */
const inTime = (check: () => void) =>
  until(() => {
    bench.clock.advance(500);
    check();
  });
const posts = (namespace: string) => bench.cluster.calls("POST", namespace);
const jobsIn = (namespace: string) => [...bench.cluster.objects.keys()].filter((key) => key.startsWith(`${namespace}/`)).length;
const held = () => bench.dispatcher.blocked().reduce((sum, { held: count }) => sum + count, 0);

describe("D8: the cluster says no, which is nobody's fault", () => {
  it.each([
    ["401", { status: 401, reason: "Unauthorized", message: "" }],
    ["403, as of a RoleBinding that is missing", FORBIDDEN],
    ["403 of a quota", QUOTA],
    ["404 of the namespace", { status: 404, reason: "NotFound", message: 'namespaces "jobs" not found' }],
    ["409 that is no AlreadyExists", { status: 409, reason: "Conflict", message: "the object has been modified" }],
    ["429", { status: 429, reason: "TooManyRequests", message: "" }],
    ["429 with Retry-After", { status: 429, reason: "TooManyRequests", message: "", retryAfterSeconds: 3 }],
    ["500", { status: 500, reason: "InternalError", message: "etcdserver: request timed out" }],
    ["503", UNAVAILABLE],
    ["a connection that breaks", { status: 0, reason: "", message: "" }],
  ])("A19: %s: the message is held, told of once, and runs when the cluster says yes", async (_what, refusal) => {
    bench.cluster.refuse("jobs", refusal);
    const delivered = await bench.publishAndDispatch(hello("blocked"));
    expect(bench.dispatcher.blocked()).toMatchObject([{ queue: QUEUE, namespace: "jobs", status: refusal.status, held: 1 }]);
    expect(await bench.said(delivered.source)).toEqual([]);
    expect(await bench.kept("blocked")).toEqual(["event 1.blocked"]);
    await inTime(() => expect(posts("jobs")).toBeGreaterThanOrEqual(3));
    expect(held()).toBe(1);
    bench.cluster.refuse("jobs");
    await inTime(() => expect(bench.dispatcher.blocked()).toEqual([]));
    expect(jobsIn("jobs")).toBe(1);
    expect(await bench.streams.holds(delivered.source)).toBe(true);
    expect(await bench.record("blocked")).toBeUndefined();
    expect(await bench.kept("blocked")).toEqual(["event 1.blocked"]);
  });

  it("A1, A3: an answer that was lost after the Job was made: it is found by its name, and is not made again", async () => {
    bench.cluster.refuse("jobs", { status: 0, reason: "", message: "", made: true });
    const delivered = await bench.publishAndDispatch(hello("unanswered"));
    bench.cluster.refuse("jobs");
    await bench.passes(PROBE_MS, () => expect(posts("jobs")).toBe(2));
    await until(async () => expect(await bench.said(delivered.source)).toEqual(["+WPI"]));
    expect(bench.cluster.objects.size).toBe(1);
    expect(bench.dispatcher.blocked()).toEqual([]);
  });

  it("what is held keeps its lease", async () => {
    bench.dispatcher = bench.newDispatcher({ ackWaitMs: 60 });
    await bench.dispatcher.start();
    bench.cluster.refuse("jobs", UNAVAILABLE);
    const { source } = await bench.publishAndDispatch(hello("leased"));
    await until(async () => expect((await bench.said(source)).filter((word) => word === "+WPI").length).toBeGreaterThan(2));
    await bench.dispatcher.stop();
  });

  it("one message at a time probes; the queue's other namespaces go on; any 2xx releases all", async () => {
    const { jobs } = bench.cluster;
    let [atOnce, most] = [0, 0];
    const create: typeof jobs.create = async (namespace, job) => {
      if (namespace === "full") atOnce += 1;
      most = Math.max(most, atOnce);
      return jobs.create(namespace, job).finally(() => {
        if (namespace === "full") atOnce -= 1;
      });
    };
    bench.dispatcher = bench.newDispatcher({ jobs: { create, get: (...args) => jobs.get(...args) } });
    bench.cluster.refuse("full", FORBIDDEN);
    for (let n = 0; n < 4; n += 1) await bench.publishAndDispatch(rawIn("full", `f${n}`));
    await bench.publishAndDispatch(rawIn("free", "other"));
    expect([posts("full"), held(), jobsIn("free")]).toEqual([1, 4, 1]);
    await inTime(() => expect(posts("full")).toBeGreaterThanOrEqual(4));
    expect([held(), most]).toEqual([4, 1]);
    bench.cluster.refuse("full");
    await inTime(() => expect(jobsIn("full")).toBe(4));
    await until(() => expect(bench.dispatcher.blocked()).toEqual([]));
  });

  it("a quota that is used up is told to whoever can make room; another refusal is not", async () => {
    bench.cluster.refuse("full", QUOTA);
    bench.cluster.refuse("free", FORBIDDEN);
    await bench.publishAndDispatch(rawIn("full", "f"));
    await bench.publishAndDispatch(rawIn("free", "g"));
    expect(bench.fullNamespaces).toEqual(["full"]);
  });

  it("held for longer than ack_wait it sleeps in RETRY, still as attempt 1, and takes no slot", async () => {
    bench.cluster.refuse("jobs", UNAVAILABLE);
    const { source } = await bench.publishAndDispatch(hello("late"));
    await bench.passes(ACK_WAIT_MS, async () => expect(await bench.streams.holds(source)).toBe(false));
    expect(await bench.record("late")).toMatchObject({ state: "retrying", attempt: 0, next: { attempt: 1 } });
    expect(await bench.kept("late")).toEqual(["at 1", "event 1.blocked", "event 1.received"]);
    expect(bench.dispatcher.blocked().map((reason) => reason.held)).toEqual([0]);
  });

  it("without room in RETRY it stays where it is", async () => {
    bench.dispatcher = bench.newDispatcher({ retries: { hasRoom: () => Promise.resolve(false) } });
    bench.cluster.refuse("jobs", UNAVAILABLE);
    const { source } = await bench.publishAndDispatch(hello("stays"));
    await bench.passes(ACK_WAIT_MS, async () => expect(await bench.said(source)).toEqual([expect.stringMatching(/^-NAK/)]));
    expect(await bench.streams.holds(source)).toBe(true);
    expect(await bench.record("stays")).toBeUndefined();
  });

  it("retries of a blocked namespace leave retry slots to the others: the rest goes back to sleep at once", async () => {
    bench.configure({ queue: { slots: 100, retrySlots: 2 } });
    const retries = [await bench.retrying("one"), await bench.retrying("two")];
    bench.cluster.refuse("jobs", UNAVAILABLE);
    for (const retry of retries) await bench.dispatch(retry);
    await until(async () => expect(await bench.kept("two")).toContain("at 2"));
    await until(async () =>
      expect(await bench.streams.holds(retries[1]?.source ?? { stream: "", seq: 0, storedAt: "" })).toBe(false),
    );
    expect(await bench.kept("one")).toContain("due 2");
    expect(held()).toBe(1);
  });

  it("refused five times while others were accepted in between, it is its own fault: DLQ", async () => {
    bench.dispatcher = bench.newDispatcher({ ackWaitMs: 3_600_000 });
    bench.cluster.refusedJobs.set(hashOf("odd"), FORBIDDEN);
    const odd = await bench.publishAndDispatch(hello("odd"));
    for (let n = 1; n <= 4; n += 1) {
      expect(await bench.streams.count("DLQ", ">")).toBe(0);
      await bench.publishAndDispatch(hello(`good ${n}`));
      await until(() => {
        bench.clock.advance(PROBE_MS);
        expect(jobsIn("jobs")).toBe(n);
      });
    }
    await until(async () => {
      bench.clock.advance(PROBE_MS);
      expect(await bench.streams.count("DLQ", ">")).toBe(1);
    });
    expect((await bench.entryOf(odd))?.header.get(DLQ_HEADER.code)).toBe("API_REFUSED");
    await until(async () => expect(await bench.streams.holds(odd.source)).toBe(false));
    expect(await bench.record("odd")).toBeUndefined();
  });

  it("A5, A9, A19: an outage dead-letters nothing, however long and often it refuses", async () => {
    bench.dispatcher = bench.newDispatcher({ ackWaitMs: 3_600_000 });
    bench.cluster.refusal = FORBIDDEN;
    const delivered = [];
    for (let n = 0; n < 10; n += 1) delivered.push(await bench.publishAndDispatch(hello(`out ${n}`)));
    await until(() => {
      bench.clock.advance(PROBE_MS);
      expect(bench.cluster.calls("POST")).toBeGreaterThan(60);
    });
    bench.cluster.refusal = undefined;
    await until(() => {
      bench.clock.advance(PROBE_MS);
      expect(jobsIn("jobs")).toBe(10);
    });
    expect(await bench.streams.count("DLQ", ">")).toBe(0);
    for (const { source } of delivered) expect(await bench.streams.holds(source)).toBe(true);
  });

  it("D2: a record that was read long ago, because the API server asked for a pause, is read again before the POST", async () => {
    bench.cluster.refuse("full", { status: 429, reason: "TooManyRequests", message: "", retryAfterSeconds: 20 });
    const { records } = bench.streams.store;
    const read = Promise.withResolvers<void>();
    const watched = {
      get: (hash: string) => records.get(hash),
      getMany: async (...args: Parameters<typeof records.getMany>) => {
        const found = await records.getMany(...args);
        if (args[0].includes(hashOf("ended"))) read.resolve();
        return found;
      },
    };
    const slow = bench.newDispatcher({ records: watched });
    await bench.dispatchBy(slow, [await bench.publish(rawIn("full", "g"))]);
    const waiting = await bench.publish(hello("ended"));
    const work = bench.dispatchBy(slow, [waiting]);
    await read.promise;
    // Meanwhile another dispatcher made its Job, which ended and is gone.
    const other = await bench.retrying("ended");
    await bench.streams.store.actions.cancel({ id: "ended", hash: hashOf("ended"), queue: QUEUE }, "enough");
    const before = posts("jobs");
    bench.clock.advance(30_000);
    await work;
    expect(posts("jobs")).toBe(before);
    expect(await bench.streams.holds(waiting.source)).toBe(false);
    await other.message.ackAck();
  });
});

describe("D9: what this code cannot handle", () => {
  const broken = (error: Error) => ({
    get: (namespace: string, name: string) => bench.cluster.jobs.get(namespace, name),
    create: () => Promise.reject(error),
  });

  it("A7: five times is enough: DLQ, and the next message runs", async () => {
    bench.dispatcher = bench.newDispatcher({ jobs: broken(new TypeError("x is not a function")) });
    let delivered = await bench.publish(hello("poison"));
    for (let times = 1; times <= 4; times += 1) {
      await bench.dispatch(delivered);
      delivered = await bench.redelivered(delivered);
    }
    expect(await bench.streams.count("DLQ", ">")).toBe(0);
    await bench.dispatch(delivered);
    expect((await bench.entryOf(delivered))?.header.get(DLQ_HEADER.code)).toBe("INTERNAL");
    expect(await bench.streams.holds(delivered.source)).toBe(false);
    bench.dispatcher = bench.newDispatcher();
    await bench.publishAndDispatch(hello("next"));
    expect(bench.cluster.objects.size).toBe(1);
  });

  it("a broker or an API server in trouble is nobody's fault, however often", async () => {
    const away = new KubeApiError({ status: 503, reason: "", message: "" });
    let delivered = await bench.publishAndDispatch(hello("unlucky"));
    await bench.seen(delivered, "unlucky");
    bench.dispatcher = bench.newDispatcher({ jobs: { ...broken(away), get: () => Promise.reject(away) } });
    for (let times = 1; times <= 6; times += 1) {
      delivered = await bench.redelivered(delivered);
      await bench.dispatch(delivered);
    }
    expect(await bench.streams.holds(delivered.source)).toBe(true);
    expect(await bench.streams.count("DLQ", ">")).toBe(0);
  });

  it("a Job whose ack annotation was edited: after 20 deliveries, unless the Job was recorded", async () => {
    const delivered = await bench.publishAndDispatch(hello("edited"));
    const { metadata } = bench.cluster.jobOf(hashOf("edited"));
    const recorded = await bench.publishAndDispatch(hello("recorded"));
    await bench.seen(recorded, "recorded");
    for (const job of bench.cluster.objects.values()) Object.assign(job.metadata?.annotations ?? {}, { [ANNOTATION.ack]: "x" });
    const queue = bench.config.queues[QUEUE];
    if (queue === undefined || metadata === undefined) throw new Error("not configured");
    const again = async (one: Delivered, deliveries: number) => {
      const { message } = await bench.redelivered(one);
      await bench.dispatcher.dispatch([{ ...pulledMessage(message), deliveries }], QUEUE, queue);
    };
    await again(delivered, 20);
    await again(recorded, 21);
    expect(await bench.streams.count("DLQ", ">")).toBe(0);
    await again(delivered, 21);
    expect((await bench.entryOf(delivered))?.header.get(DLQ_HEADER.code)).toBe("INTERNAL");
    expect(await bench.streams.holds(delivered.source)).toBe(false);
    expect(await bench.streams.holds(recorded.source)).toBe(true);
  });

  it("a retry dies with its record", async () => {
    let retry = await bench.retrying("poison");
    bench.dispatcher = bench.newDispatcher({ jobs: broken(new TypeError("x is not a function")) });
    for (let times = 1; times <= 4; times += 1) {
      await bench.dispatch(retry);
      retry = await bench.redelivered(retry);
    }
    await bench.dispatch(retry);
    expect(await bench.record("poison")).toMatchObject({ state: "dead", reason: expect.stringContaining("INTERNAL") });
    expect(await bench.kept("poison")).toContain("dlq 2");
  });
});

describe("D10: runAt", () => {
  const later = (id: string, inMs: number): string =>
    JSON.stringify({ id, template: "hello", runAt: new Date(Date.now() + inMs).toISOString() });

  it("a message sleeps until then without a slot, an acknowledgement or a Job, and then runs as attempt 1", async () => {
    const delivered = await bench.publishAndDispatch(later("alarm", 1_500));
    expect(await bench.record("alarm")).toMatchObject({ state: "retrying", next: { attempt: 1 } });
    expect(await bench.kept("alarm")).toEqual(["at 1", "event 1.received"]);
    expect(await bench.streams.holds(delivered.source)).toBe(false);
    expect(bench.cluster.calls("POST")).toBe(0);
    await bench.dispatch(await bench.streams.one(QUEUE, STREAM.retry));
    expect(bench.cluster.jobOf(hashOf("alarm")).metadata?.name).toBe(`hello-${hashOf("alarm")}-a1`);
  });

  it("one in the past is now", async () => {
    await bench.publishAndDispatch(later("past", -60_000));
    expect(bench.cluster.objects.size).toBe(1);
  });

  it("S6: a dispatcher whose clock is minutes ahead or behind neither starts it early nor lets it sleep longer", async () => {
    const withClock = (aheadMs: number) => ({
      nowMs: () => Date.now() + aheadMs,
      broker: { clockOffsetMs: () => Promise.resolve(-aheadMs) },
    });
    bench.dispatcher = bench.newDispatcher(withClock(600_000));
    await bench.publishAndDispatch(later("ahead", 60_000));
    expect(await bench.record("ahead")).toMatchObject({ state: "retrying" });
    expect(bench.cluster.calls("POST")).toBe(0);
    bench.dispatcher = bench.newDispatcher(withClock(-600_000));
    await bench.publishAndDispatch(later("behind", -60_000));
    expect(await bench.record("behind")).toBeUndefined();
    expect(bench.cluster.calls("POST")).toBe(1);
  });

  it("one beyond the history is rejected: its record would be forgotten", async () => {
    const delivered = await bench.publishAndDispatch(later("far", 31 * 86_400_000));
    const entry = await bench.entryOf(delivered);
    expect(entry?.header.get(DLQ_HEADER.code)).toBe("JOB_SPEC_INVALID");
    expect(JSON.parse(entry?.header.get(DLQ_HEADER.path) ?? "")).toBe("runAt");
    expect(await bench.record("far")).toBeUndefined();
  });

  it("delivered again after a crash between the schedule and the acknowledgement, it sleeps once", async () => {
    const delivered = await bench.publish(later("twice", 60_000));
    const { settler } = bench.streams.store;
    const dying = { ...settler, settle: settler.settle.bind(settler), repeatEffects: settler.repeatEffects.bind(settler) };
    bench.dispatcher = bench.newDispatcher({
      settler: { ...dying, settle: (hash, event) => settler.settle(hash, event, undefined) },
    });
    await bench.dispatch(delivered);
    await bench.dispatch(delivered);
    expect(await bench.kept("twice")).toEqual(["at 1", "event 1.received"]);
    expect((await bench.record("twice"))?.next).toMatchObject({ attempt: 1 });
  });
});

describe("A14: draining", () => {
  it("hands back at once what is held and what comes to be held", async () => {
    bench.cluster.refuse("jobs", UNAVAILABLE);
    const first = await bench.publishAndDispatch(hello("held"));
    const second = await bench.publish(hello("late"));
    await bench.dispatcher.stop();
    await bench.dispatch(second);
    for (const { source } of [first, second]) {
      expect(await bench.said(source)).toEqual(["-NAK"]);
      expect(await bench.streams.holds(source)).toBe(true);
    }
    expect(bench.dispatcher.blocked().map((reason) => reason.held)).not.toContain(1);
  });

  it("hands back what waits for its turn, and makes no Job any more", async () => {
    bench.cluster.refuse("full", { status: 429, reason: "TooManyRequests", message: "", retryAfterSeconds: 20 });
    await bench.publishAndDispatch(rawIn("full", "f"));
    const waiting = await bench.publish(hello("waiting"));
    const work = bench.dispatch(waiting);
    await bench.dispatcher.stop();
    await work;
    expect(await bench.said(waiting.source)).toEqual(["-NAK"]);
    expect(jobsIn("jobs")).toBe(0);
  });
});
