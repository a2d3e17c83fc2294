import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { ANNOTATION, jobHash } from "../../libs/contract/names.ts";
import { retryConfig } from "../../libs/contract/retry-config.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Settler } from "../../libs/streams/settle.ts";
import { CrashPoint } from "../../libs/streams/testing/crashing.ts";
import { INSTANCE } from "../../libs/streams/testing/workbench.ts";
import { isRunning, type Made, MonitorBench, QUEUE, terminated, waits } from "../testing/monitor-bench.ts";

let bench: MonitorBench;
beforeAll(async () => {
  bench = await MonitorBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(() => bench.reset());

const isThere = ({ job }: Made) => bench.cluster.objects.has(`jobs/${job.metadata?.name}`);
const stopOf = ({ job }: Made) => job.metadata?.annotations?.[ANNOTATION.stop];
/** A person's cancel of a running job, as the monitor carries it out. */
const cancel = ({ job, uid }: Made) =>
  bench.cluster.jobs.suspend("jobs", job.metadata?.name ?? "", uid, "cancelled", "not wanted");
const MINUTE_MS = 60_000;

describe("J2, J3: a Stop", () => {
  it("waits until no pod is left, then settles, then deletes the Job", async () => {
    const made = await bench.running("cancelled");
    bench.cluster.addPod(made.job, isRunning());
    bench.cluster.podsLinger = true;
    await cancel(made);
    expect(await bench.reconciler.reconcile(made.uid)).toBeGreaterThan(0);
    expect(await bench.record(made.hash)).toMatchObject({ state: "running" });
    expect(await bench.streams.holds(made.source)).toBe(true);
    bench.cluster.podsGo();
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({ state: "cancelled", reason: "not wanted" });
    expect(await bench.events(made.hash)).toEqual({ created: 1, started: 1, cancelled: 1 });
    expect(await bench.streams.holds(made.source)).toBe(false);
    expect(await bench.streams.count("DLQ", ">")).toBe(0);
    expect(isThere(made)).toBe(false);
  });

  it("that another monitor began is carried on from what stands on the Job", async () => {
    const made = await bench.running("handed");
    bench.cluster.addPod(made.job, isRunning());
    await cancel(made);
    await bench.newReconciler().reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({ state: "cancelled" });
    expect(isThere(made)).toBe(false);
  });

  it("a success wins over it", async () => {
    const made = await bench.running("done");
    bench.cluster.addPod(made.job, terminated(0, { message: "42" }));
    await cancel(made);
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({ state: "succeeded", result: "42" });
    expect(isThere(made)).toBe(false);
  });

  it("P1: of a cancel that came while the attempt failed cancels it, and nothing is tried again", async () => {
    bench.configure({ retry: { attempts: 3 } });
    const made = await bench.running("failing");
    bench.cluster.end(made.job, "Failed", terminated(3));
    await cancel(made);
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({ state: "cancelled", reason: "not wanted" });
    expect(await bench.streams.count("RETRY", ">")).toBe(0);
  });

  it("P1: of a cancel that came when the attempt was judged already takes its retry back, but not another life", async () => {
    bench.configure({ retry: { attempts: 3, backoff: { initial: "1h" } } });
    const made = await bench.running("judged");
    bench.cluster.end(made.job, "Failed", terminated(3));
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({ state: "retrying" });
    await cancel(made);
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({ state: "cancelled", reason: "not wanted" });
    expect(await bench.streams.count("RETRY", ">")).toBe(0);
    expect(await bench.events(made.hash)).toMatchObject({ cancelled: 1 });
    const target = { id: "judged", hash: made.hash, queue: QUEUE };
    expect(await bench.streams.store.actions.rerun(target, "after all")).toMatchObject({ kind: "scheduled" });
    await bench.newReconciler().reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({ state: "retrying", life: 2 });
  });

  it("suspended by a person: class evicted, tried again for free, and the suspended Job goes", async () => {
    const made = await bench.running("paused");
    bench.cluster.addPod(made.job, isRunning());
    bench.observer.look();
    Object.assign(made.job.spec ?? {}, { suspend: true });
    bench.cluster.pods.length = 0;
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({
      state: "retrying",
      attempts: [{ class: "evicted" }],
      counts: { free: 1 },
      next: { attempt: 2 },
    });
    expect(await bench.streams.kept(QUEUE, made.hash)).toContain("due 2");
    expect(isThere(made)).toBe(false);
  });

  it("heals from a crash at any step of a cancel", async () => {
    let steps = 0;
    for (const when of ["before", "after"] as const) {
      for (let at = 1; ; at += 1) {
        const made = await bench.running(`cancel-${when}-${at}`);
        bench.cluster.addPod(made.job, isRunning());
        await cancel(made);
        const crash = await crashed(made.uid, at, when);
        await bench.newReconciler().reconcile(made.uid);
        expect(await bench.record(made.hash)).toMatchObject({ state: "cancelled" });
        expect(await bench.events(made.hash)).toMatchObject({ created: 1, cancelled: 1 });
        expect(await bench.streams.holds(made.source)).toBe(false);
        expect(isThere(made)).toBe(false);
        if (!crash) break;
        steps += 1;
      }
    }
    expect(steps).toBeGreaterThanOrEqual(10);
    expect(await bench.streams.count("DLQ", ">")).toBe(0);
  });
});

describe("J2: trouble at the start", () => {
  it.each([
    ["image", waits("ErrImageNeverPull", 'Container image "x" is not present'), 0],
    ["image", waits("ImagePullBackOff", 'Back-off pulling image "x": not found'), 3 * MINUTE_MS],
    ["containerConfig", waits("CreateContainerConfigError", 'configmap "c" not found'), 3 * MINUTE_MS],
  ])("%s: a Stop, then the DLQ without another attempt", async (stopClass, status, afterMs) => {
    const made = await bench.running("broken");
    bench.cluster.addPod(made.job, status);
    const waitMs = await bench.reconciler.reconcile(made.uid);
    if (afterMs > 0) {
      expect(waitMs).toBeGreaterThan(0);
      expect(stopOf(made)).toBeUndefined();
    }
    bench.aheadMs = afterMs;
    await bench.reconciler.reconcile(made.uid);
    expect(stopOf(made)).toBe(stopClass);
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({ state: "dead", attempts: [{ class: stopClass }] });
    expect((await bench.entry(made.hash))?.header.get(DLQ_HEADER.class)).toContain(stopClass);
    expect(isThere(made)).toBe(false);
  });

  it("A21: neverStarted after startTimeout, counted from its pod: a Stop, then tried again for free", async () => {
    const made = await bench.running("stuck");
    bench.cluster.addPod(made.job, waits("ContainerCreating"));
    bench.aheadMs = 9 * MINUTE_MS;
    expect(await bench.reconciler.reconcile(made.uid)).toBeLessThanOrEqual(MINUTE_MS);
    expect(stopOf(made)).toBeUndefined();
    bench.aheadMs = 11 * MINUTE_MS;
    await bench.reconciler.reconcile(made.uid);
    expect(stopOf(made)).toBe("neverStarted");
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({
      state: "retrying",
      counts: { free: 1, blocked: 0 },
      next: { attempt: 2 },
    });
  });

  it("of three different jobs in a row is the cluster's: not counted, until a pod of the queue starts", async () => {
    const stuck = async (id: string) => {
      const made = await bench.running(id);
      bench.cluster.addPod(made.job, waits("ContainerCreating"));
      bench.aheadMs = 11 * MINUTE_MS;
      await bench.reconciler.reconcile(made.uid);
      await bench.reconciler.reconcile(made.uid);
      bench.aheadMs = 0;
      return (await bench.record(made.hash))?.counts;
    };
    expect(await stuck("one")).toMatchObject({ free: 1, blocked: 0 });
    expect(await stuck("two")).toMatchObject({ free: 1, blocked: 0 });
    expect(await stuck("three")).toMatchObject({ free: 0, blocked: 1 });
    expect(bench.startFailures.blockedQueues([QUEUE])).toEqual([QUEUE]);
    const good = await bench.running("good");
    bench.cluster.addPod(good.job, isRunning());
    await bench.reconciler.reconcile(good.uid);
    expect(await stuck("four")).toMatchObject({ free: 1, blocked: 0 });
  });

  describe("no pod at all", () => {
    /** What the Job controller writes when it has come to a Job: with the outcome of its first attempt to make a pod. */
    const tried = ({ job }: Made, active = 0) => {
      Object.assign(job, { status: { startTime: "2026-01-01T00:00:00Z", ready: 0, ...(active > 0 ? { active } : {}) } });
    };
    /** A monitor that remembers nothing, and what it says. */
    const monitor = () => {
      const lines: string[] = [];
      const note = (event: string) => void lines.push(event);
      const reconciler = bench.newReconciler({ log: { ...silentLog, info: note, warn: note } });
      return { reconciler, said: () => lines.filter((line) => line !== "job.recorded") };
    };

    it("as with a quota of pods: event blocked, once, a line of each monitor, once, and nothing is stopped", async () => {
      const made = await bench.running("podless");
      tried(made);
      bench.aheadMs = MINUTE_MS;
      for (const { reconciler, said } of [monitor(), monitor()]) {
        for (let look = 0; look < 3; look += 1) expect(await reconciler.reconcile(made.uid)).toBeGreaterThanOrEqual(30_000);
        expect(said()).toEqual(["job.blocked"]);
      }
      expect(await bench.events(made.hash)).toEqual({ created: 1, blocked: 1 });
      expect(stopOf(made)).toBeUndefined();
      expect(await bench.record(made.hash)).toMatchObject({ state: "running" });
    });

    it("because the Job controller is behind: a line, once; neither blocked nor stopped; a refusal is told when it comes to it", async () => {
      const made = await bench.running("late");
      bench.aheadMs = MINUTE_MS;
      const { reconciler, said } = monitor();
      for (let look = 0; look < 3; look += 1) expect(await reconciler.reconcile(made.uid)).toBeGreaterThanOrEqual(30_000);
      expect(said()).toEqual(["job.without-pod"]);
      expect(await bench.events(made.hash)).toEqual({ created: 1 });
      expect(stopOf(made)).toBeUndefined();
      tried(made);
      await reconciler.reconcile(made.uid);
      expect(said()).toEqual(["job.without-pod", "job.blocked"]);
    });

    it("the API server is asked nothing while it lasts", async () => {
      const [late, refused] = [await bench.running("late"), await bench.running("refused")];
      tried(refused);
      bench.aheadMs = MINUTE_MS;
      const before = bench.cluster.server.asked.length;
      for (const { uid } of [late, refused]) await bench.reconciler.reconcile(uid);
      expect(bench.cluster.server.asked.slice(before)).toEqual([]);
    });

    it("is not said when the watch would not have seen it, or is behind the controller", async () => {
      const made = await bench.running("unseen");
      bench.aheadMs = MINUTE_MS;
      const { reconciler, said } = monitor();
      bench.observer.blind.set("jobs", "the watch has failed");
      tried(made);
      await reconciler.reconcile(made.uid);
      bench.observer.blind.clear();
      tried(made, 1);
      await reconciler.reconcile(made.uid);
      expect(said()).toEqual([]);
      expect(await bench.events(made.hash)).toEqual({ created: 1 });
    });
  });
});

describe("J4: a lost node", () => {
  const lost = (deletionTimestamp: string) => ({
    status: isRunning({
      conditions: [
        { type: "DisruptionTarget", status: "True", reason: "DeletionByTaintManager", lastTransitionTime: deletionTimestamp },
      ],
    }),
    deletionTimestamp,
  });

  it.each(["fast", "safe"] as const)("nodeLoss: %s", async (nodeLoss) => {
    bench.configure({ nodeLoss });
    const made = await bench.running("lost");
    const { status, deletionTimestamp } = lost("2026-01-01T00:05:00Z");
    const pod = bench.cluster.addPod(made.job, status);
    Object.assign(pod.metadata ?? {}, { deletionTimestamp });
    Object.assign(made.job, {
      status: { conditions: [{ type: "FailureTarget", status: "True", lastTransitionTime: deletionTimestamp }] },
    });
    await bench.reconciler.reconcile(made.uid);
    const record = await bench.record(made.hash);
    if (nodeLoss === "fast")
      expect(record).toMatchObject({ state: "retrying", attempts: [{ class: "nodeLost" }], counts: { free: 1 } });
    else expect(record).toMatchObject({ state: "running" });
  });
});

describe("F2: a Job that lives though its record is past it", () => {
  it.each(["retrying", "dead"] as const)(
    "%s: it is stopped and removed; what its record promises is there once",
    async (state) => {
      const made = await bench.running("zombie");
      bench.cluster.addPod(made.job, isRunning());
      const { job, hash, uid } = made;
      const at = new Date().toISOString();
      // As judged from a lost node, whose pod goes on.
      const verdict = {
        kind: "failed",
        class: state === "dead" ? "exit" : "nodeLost",
        reason: "its node was lost",
        endedAt: at,
      } as const;
      const config = retryConfig.parse({ attempts: 1, freeBackoff: { initial: "0s" } });
      const policy = { config, attempts: undefined, final: undefined, blocked: false, random: 0.5 };
      await bench.streams.store.settler.settle(hash, { kind: "attemptEnded", attempt: 1, uid, verdict, policy, at }, made.ack);
      await bench.reconciler.reconcile(uid);
      expect(stopOf(made)).toBe("lost");
      expect(isThere(made)).toBe(true);
      await bench.reconciler.reconcile(uid);
      expect(isThere(made)).toBe(false);
      expect(job.spec?.suspend).toBe(true);
      expect(await bench.record(hash)).toMatchObject({ state });
      const effect =
        state === "dead" ? ["dlq 1", "event 1.created", "event 1.dead"] : ["due 2", "event 1.created", "event 1.retrying"];
      expect(await bench.streams.kept(QUEUE, hash)).toEqual(effect);
    },
  );
});

describe("F4: a Job that no record wants", () => {
  it("is stopped, goes when its pods have gone, and its message is never acknowledged", async () => {
    const first = await bench.running("twin");
    const twin = await bench.made("twin", { prefix: "other" });
    bench.cluster.addPod(twin.job, isRunning());
    bench.cluster.podsLinger = true;
    expect(await bench.reconciler.reconcile(twin.uid)).toBeGreaterThan(0);
    expect(isThere(twin)).toBe(true);
    bench.cluster.podsGo();
    await bench.reconciler.reconcile(twin.uid);
    expect(isThere(twin)).toBe(false);
    expect(await bench.streams.holds(twin.source)).toBe(true);
    expect(await bench.record(first.hash)).toMatchObject({ state: "running", job: { uid: first.uid } });
    expect(await bench.events(first.hash)).toEqual({ created: 1 });
  });

  it("J6: deleted without its pods: they are taken away", async () => {
    await bench.running("twin");
    const twin = await bench.made("twin", { prefix: "other" });
    bench.cluster.addPod(twin.job, isRunning());
    bench.remove(twin.job, false);
    await bench.reconciler.reconcile(twin.uid);
    expect(bench.cluster.pods).toEqual([]);
  });

  it("P1: made in the same instant as its job was cancelled: the tombstone stays, no event, no acknowledgement", async () => {
    const hash = jobHash(INSTANCE, QUEUE, "instant");
    await bench.streams.store.actions.cancel({ id: "instant", hash, queue: QUEUE }, "not wanted");
    const made = await bench.made("instant");
    await bench.reconciler.reconcile(made.uid);
    if (isThere(made)) await bench.reconciler.reconcile(made.uid);
    expect(isThere(made)).toBe(false);
    expect(await bench.record(hash)).toMatchObject({ state: "cancelled", attempts: [] });
    expect(await bench.events(hash)).toEqual({ cancelled: 1 });
    expect(await bench.streams.holds(made.source)).toBe(true);
  });

  it("of an older attempt that still lives, though the next one runs", async () => {
    const first = await bench.running("old");
    const { record } = first;
    const { revision } = (await bench.streams.store.records.get(first.hash)) ?? { revision: 0 };
    await bench.streams.store.records.swap(
      { ...record, attempt: 2, job: { ...first.record.job, namespace: "jobs", name: "n", uid: "u2" } },
      revision,
    );
    await bench.reconciler.reconcile(first.uid);
    if (isThere(first)) await bench.reconciler.reconcile(first.uid);
    expect(isThere(first)).toBe(false);
    expect(await bench.streams.holds(first.source)).toBe(true);
  });
});

/** A monitor that dies at its n-th step; whether there was such a step. */
async function crashed(uid: string, at: number, when: "before" | "after"): Promise<boolean> {
  const crash = new CrashPoint({ at, when });
  const { store } = bench.streams;
  const dying = {
    records: crash.wrap(store.records),
    events: crash.wrap(store.events),
    deadLetters: crash.wrap(store.deadLetters),
    retries: crash.wrap(store.retries),
    messages: crash.wrap(store.messages),
  };
  const monitor = bench.newReconciler({}, { ...dying, settler: new Settler(dying) });
  await monitor.reconcile(uid).catch((error: unknown) => {
    if (!crash.crashed) throw error;
  });
  return crash.crashed;
}
