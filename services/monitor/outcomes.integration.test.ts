import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { ANNOTATION } from "../../libs/contract/names.ts";
import type { JobRecord } from "../../libs/contract/record.ts";
import { Settler } from "../../libs/streams/settle.ts";
import { CrashPoint } from "../../libs/streams/testing/crashing.ts";
import { isRunning, type Made, MonitorBench, QUEUE, terminated } from "../testing/monitor-bench.ts";

let bench: MonitorBench;
beforeAll(async () => {
  bench = await MonitorBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(async () => {
  await bench.reset();
  bench.configure({ retry: { attempts: 3, backoff: { initial: "0s" }, freeBackoff: { initial: "0s" } } });
});

const kept = (hash: string) => bench.streams.kept(QUEUE, hash);
/** Somebody writes the record as it was before, as a restored bucket has it. */
async function rewrite(hash: string, change: (record: JobRecord) => JobRecord): Promise<void> {
  const stored = await bench.streams.store.records.get(hash);
  if (stored === undefined) throw new Error("no record");
  await bench.streams.store.records.swap(change(stored.record), stored.revision);
}
async function failed(id: string, exitCode = 3): Promise<Made> {
  const made = await bench.running(id);
  bench.cluster.end(made.job, "Failed", terminated(exitCode));
  await bench.reconciler.reconcile(made.uid);
  return made;
}

describe("a failed attempt that is tried again", () => {
  it("A16: its retry is due, its message is gone from JOBS, nothing is in the DLQ; the Job stays as evidence", async () => {
    const { hash, source, job } = await failed("again");
    expect(await bench.record(hash)).toMatchObject({ state: "retrying", attempt: 1, next: { attempt: 2 } });
    expect(await kept(hash)).toEqual(["due 2", "event 1.created", "event 1.retrying", "event 1.started"]);
    expect(await bench.streams.holds(source)).toBe(false);
    expect(job.metadata?.annotations?.[ANNOTATION.settled]).toBe("true");
  });

  it("F1: the next attempt's Job moves the record on; only the first of a life carries the message", async () => {
    const { hash } = await failed("again");
    const second = await bench.made("again", { attempt: 2, of: await bench.due() });
    await bench.reconciler.reconcile(second.uid);
    expect(await bench.record(hash)).toMatchObject({
      state: "running",
      attempt: 2,
      job: { uid: second.uid },
      source: second.source,
    });
    const created = await bench.streams.manager.streams.getMessage("EVENTS", {
      last_by_subj: `events.${QUEUE}.${hash}.2.created`,
    });
    expect(created?.json()).not.toHaveProperty("data.message");
  });

  it("F1: with the memory that it was given, which the attempt after it keeps", async () => {
    const first = await bench.running("grows");
    bench.cluster.end(first.job, "Failed", terminated(137, { reason: "OOMKilled" }));
    await bench.reconciler.reconcile(first.uid);
    expect(await bench.record(first.hash)).toMatchObject({ attempts: [{ class: "oom" }], next: { memory: { main: "96Mi" } } });
    const second = await bench.made("grows", { attempt: 2, of: await bench.due(), memory: { main: "96Mi" } });
    bench.cluster.end(second.job, "Failed", terminated(3));
    await bench.reconciler.reconcile(second.uid);
    expect(await bench.record(first.hash)).toMatchObject({
      attempts: [{ n: 1 }, { n: 2, class: "exit", memory: { main: "96Mi" } }],
      next: { attempt: 3, memory: { main: "96Mi" } },
    });
  });

  it("the message's own number of attempts wins over the queue's", async () => {
    const made = await bench.running("once", { attempts: 1 });
    bench.cluster.end(made.job, "Failed", terminated(3));
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({ state: "dead" });
  });

  it("F1: another life: its first attempt carries the message, and numbers go on", async () => {
    bench.configure({ retry: { attempts: 1, backoff: { initial: "0s" } } });
    const { hash, source } = await failed("rerun");
    await bench.streams.store.actions.rerun({ id: "rerun", hash, queue: QUEUE }, "again, please");
    const second = await bench.made("rerun", { attempt: 2, life: 2, of: await bench.due() });
    bench.cluster.end(second.job, "Complete", terminated(0));
    await bench.reconciler.reconcile(second.uid);
    expect(await bench.record(hash)).toMatchObject({ state: "succeeded", attempt: 2, life: 2, budgetFrom: 2 });
    const created = await bench.streams.manager.streams.getMessage("EVENTS", {
      last_by_subj: `events.${QUEUE}.${hash}.2.created`,
    });
    expect(created?.json()).toMatchObject({ data: { message: { subject: `jobs.${QUEUE}.hello` } } });
    for (const each of [source, second.source]) expect(await bench.streams.holds(each)).toBe(false);
  });

  it("F2: heals from a crash at any step: one retry, no message in JOBS", async () => {
    let steps = 0;
    for (const when of ["before", "after"] as const) {
      for (let at = 1; ; at += 1) {
        const { uid, hash, job, source } = await bench.made(`retry-${when}-${at}`);
        bench.cluster.end(job, "Failed", terminated(3));
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
        await bench.newReconciler().reconcile(uid);
        expect(await kept(hash)).toEqual(["due 2", "event 1.created", "event 1.retrying", "event 1.started"]);
        expect(await bench.record(hash)).toMatchObject({ state: "retrying" });
        expect(await bench.streams.holds(source)).toBe(false);
        expect(job.metadata?.annotations?.[ANNOTATION.settled]).toBe("true");
        if (!crash.crashed) break;
        steps += 1;
      }
    }
    expect(steps).toBeGreaterThanOrEqual(20);
  });

  it("a queue that was removed while its Job ran: the attempt is settled, and there is no other", async () => {
    const made = await bench.running("last");
    bench.config = { ...bench.config, queues: {} };
    bench.cluster.end(made.job, "Failed", terminated(3));
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({ state: "dead", reason: expect.stringContaining("not configured") });
    expect(await kept(made.hash)).toContain("dlq 1");
  });

  it("S1: bytes that are nowhere: dead, and the entry says so", async () => {
    const made = await bench.running("lost");
    for (const stream of ["JOBS", "EVENTS"]) await bench.streams.manager.streams.purge(stream);
    bench.cluster.end(made.job, "Failed", terminated(3));
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({ state: "dead", reason: expect.stringContaining("bytes-lost") });
    expect(await kept(made.hash)).toContain("dlq 1");
  });
});

describe("A15, A17, A18: what came to its end before anybody looked", () => {
  it("A15: a pod that succeeded before the first sight is a success", async () => {
    const made = await bench.made("quick");
    bench.cluster.end(made.job, "Complete", terminated(0));
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject({ state: "succeeded" });
  });

  it("A17: a failure, which has no completionTime, is a failure with its exit code", async () => {
    const made = await failed("failed", 64);
    expect(made.job.status?.completionTime).toBeUndefined();
    expect(await bench.record(made.hash)).toMatchObject({
      state: "dead",
      attempts: [{ outcome: "failed", class: "exit", exitCode: 64 }],
    });
  });

  it("A18: a failed Job is not deleted but expires, its pod with it", async () => {
    const made = await failed("evidence", 64);
    expect(bench.cluster.calls("DELETE")).toBe(0);
    expect(made.job.spec?.ttlSecondsAfterFinished).toBe(3600);
    expect(bench.cluster.pods).toHaveLength(1);
  });
});

describe("the log of a failed attempt", () => {
  it("is kept with its DLQ entry, without what is secret", async () => {
    const made = await bench.running("logged", { env: { API_TOKEN: "s3cr3t-value", PLAIN: "word" } });
    const pod = bench.cluster.end(made.job, "Failed", terminated(64));
    bench.cluster.logs.set(pod.metadata?.name ?? "", "a word\nusing s3cr3t-value\nfailed\n");
    await bench.reconciler.reconcile(made.uid);
    const text = "a word\nusing [redacted API_TOKEN]\nfailed\n";
    expect(await bench.streams.store.logs.get(made.hash, 1)).toBe(text);
    const tail = (await bench.entry(made.hash))?.header.get(DLQ_HEADER.logTail);
    expect(tail).toContain("failed");
    expect(tail).not.toContain("s3cr3t");
  });

  it("is kept while its pod still has one: a Stop or a deletion takes it away", async () => {
    const made = await bench.running("going");
    const pod = bench.cluster.addPod(made.job, isRunning());
    const at = new Date().toISOString();
    Object.assign(pod.metadata ?? {}, { deletionTimestamp: at });
    bench.cluster.logs.set(pod.metadata?.name ?? "", "last words\n");
    await bench.reconciler.reconcile(made.uid);
    bench.cluster.podsGo();
    bench.cluster.logs.clear();
    expect(await bench.streams.store.logs.get(made.hash, 1)).toBe("last words\n");
  });

  it("is not kept when its Job is gone, which tells what is secret in it", async () => {
    const made = await bench.running("unknown", { env: { API_TOKEN: "s3cr3t-value" } });
    const pod = bench.cluster.addPod(made.job, isRunning());
    Object.assign(pod.metadata ?? {}, { deletionTimestamp: new Date().toISOString() });
    bench.cluster.logs.set(pod.metadata?.name ?? "", "s3cr3t-value\n");
    // The watch of pods was faster than that of Jobs.
    const stale = bench.observer.sighting(made.uid);
    bench.remove(made.job);
    const observer = { sighting: () => stale, forget: () => {}, laterJob: () => undefined, problemIn: () => undefined };
    await bench.newReconciler({ observer }).reconcile(made.uid);
    expect(await bench.streams.store.logs.get(made.hash, 1)).toBeUndefined();
  });

  it("that cannot be read keeps no job from being settled", async () => {
    const { hash } = await failed("silent", 64);
    expect(await bench.record(hash)).toMatchObject({ state: "dead" });
  });
});

describe("F5: data that was restored", () => {
  it("a Job of a later attempt than the record's brings the record to itself", async () => {
    const first = await bench.running("older");
    const second = await bench.made("older", { attempt: 3, of: first });
    await bench.reconciler.reconcile(second.uid);
    expect(await bench.record(first.hash)).toMatchObject({ state: "running", attempt: 3, job: { uid: second.uid } });
  });

  it("a Job without a record, because the bucket was lost, gets one", async () => {
    const first = await bench.running("lost");
    await bench.streams.manager.streams.purge("KV_millrace_jobs");
    await bench.reconciler.reconcile(first.uid);
    expect(await bench.record(first.hash)).toMatchObject({ state: "running", job: { uid: first.uid } });
    expect(await bench.events(first.hash)).toEqual({ created: 1 });
  });
});

describe("J5: a Job that is gone, and what the streams know", () => {
  async function missing(made: { readonly hash: string }): Promise<void> {
    const record = await bench.record(made.hash);
    if (record?.job === undefined) throw new Error("no Job is recorded");
    await bench.newReconciler().reconcileMissing(record, record.job);
  }

  it("a DLQ entry: dead as that says, not deleted, and no second entry", async () => {
    const made = await bench.running("entry");
    const before = await bench.record(made.hash);
    bench.cluster.end(made.job, "Failed", terminated(64));
    await bench.reconciler.reconcile(made.uid);
    if (before === undefined) throw new Error("no record");
    await bench.streams.manager.streams.purge("EVENTS");
    await rewrite(made.hash, () => before);
    bench.cluster.objects.clear();
    await missing(made);
    expect(await bench.record(made.hash)).toMatchObject({ state: "dead", reason: expect.not.stringContaining("deleted") });
    expect((await bench.record(made.hash))?.attempts.map((attempt) => attempt.class)).not.toContain("deleted");
    expect(await bench.streams.count("DLQ", ">")).toBe(1);
  });

  it("a retry in RETRY: the record follows it, and nothing is dead", async () => {
    const made = await bench.running("follows");
    const before = await bench.record(made.hash);
    bench.cluster.end(made.job, "Failed", terminated(3));
    await bench.reconciler.reconcile(made.uid);
    if (before === undefined) throw new Error("no record");
    await rewrite(made.hash, () => before);
    bench.cluster.objects.clear();
    await missing(made);
    expect(await bench.record(made.hash)).toMatchObject({ state: "retrying", next: { attempt: 2 } });
    expect(await bench.streams.count("DLQ", ">")).toBe(0);
    expect(await bench.streams.count("RETRY", ">")).toBe(1);
  });

  it("a chain of retries up to a success", async () => {
    const made = await bench.running("chain");
    const before = await bench.record(made.hash);
    bench.cluster.end(made.job, "Failed", terminated(3));
    await bench.reconciler.reconcile(made.uid);
    const second = await bench.made("chain", { attempt: 2, of: await bench.due() });
    bench.cluster.end(second.job, "Complete", terminated(0));
    await bench.reconciler.reconcile(second.uid);
    if (before === undefined) throw new Error("no record");
    await rewrite(made.hash, () => before);
    bench.cluster.objects.clear();
    await missing(made);
    expect(await bench.record(made.hash)).toMatchObject({ state: "succeeded", attempt: 2 });
    expect(await bench.events(made.hash)).toMatchObject({ succeeded: 1 });
  });

  it("a later Job that lives: left to that one", async () => {
    const made = await bench.running("later");
    await bench.made("later", { attempt: 2, of: made });
    bench.remove(made.job);
    await missing(made);
    expect(await bench.record(made.hash)).toMatchObject({ state: "running", attempt: 1 });
    expect(await bench.streams.count("DLQ", ">")).toBe(0);
  });

  it.each(["seen by the watch", "found by a sweep"])(
    "deleted with --cascade=orphan, %s: first its pods go, then it is judged",
    async (how) => {
      const made = await bench.running("orphan");
      bench.cluster.addPod(made.job, isRunning());
      bench.cluster.podsLinger = true;
      bench.remove(made.job, false);
      const look = () => (how === "found by a sweep" ? missing(made) : bench.reconciler.reconcile(made.uid));
      await look();
      expect(bench.cluster.pods[0]?.metadata?.deletionTimestamp).toBeDefined();
      expect(await bench.record(made.hash)).toMatchObject({ state: "running" });
      bench.cluster.podsGo();
      await look();
      expect(await bench.record(made.hash)).toMatchObject({ state: "dead", attempts: [{ class: "deleted" }] });
      expect(await bench.streams.count("DLQ", ">")).toBe(1);
    },
  );

  it.each([
    [true, { state: "dead", attempts: [{ class: "deleted" }] }],
    [false, { state: "retrying", attempts: [{ class: "lost" }] }],
  ])("a pod that is deleted while its namespace is deleted (%s) is not tried again", async (isLeaving, expected) => {
    const made = await bench.running("leaving");
    const terminated = { exitCode: 137, reason: "Error", finishedAt: "2026-01-01T00:00:31Z" };
    const pod = bench.cluster.end(made.job, "Failed", {
      containerStatuses: [{ name: "main", image: "", imageID: "", ready: false, restartCount: 0, state: { terminated } }],
    } as object);
    Object.assign(pod.metadata ?? {}, { deletionTimestamp: "2026-01-01T00:00:30Z", deletionGracePeriodSeconds: 30 });
    if (isLeaving) bench.cluster.leaving.add("jobs");
    await bench.reconciler.reconcile(made.uid);
    expect(await bench.record(made.hash)).toMatchObject(expected);
  });

  it("403 is never gone; with its namespace it is", async () => {
    const made = await bench.running("hidden");
    bench.remove(made.job);
    bench.cluster.forbidden.add("jobs");
    await expect(missing(made)).rejects.toMatchObject({ status: 403 });
    expect(await bench.record(made.hash)).toMatchObject({ state: "running" });
    bench.cluster.forbidden.clear();
    bench.cluster.removeNamespace("jobs");
    await missing(made);
    expect(await bench.record(made.hash)).toMatchObject({ state: "dead", attempts: [{ class: "deleted" }] });
  });
});
