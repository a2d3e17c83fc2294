import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { ANNOTATION, LABEL } from "../../libs/contract/names.ts";
import { Settler } from "../../libs/streams/settle.ts";
import { CrashPoint } from "../../libs/streams/testing/crashing.ts";
import { MonitorBench, QUEUE, terminated } from "../testing/monitor-bench.ts";

let bench: MonitorBench;
beforeAll(async () => {
  bench = await MonitorBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(() => bench.reset());

describe("F1: the first sight of a Job", () => {
  it("event created, which carries the message, then the record; the message stays", async () => {
    const { uid, hash, source } = await bench.made("a");
    await bench.reconciler.reconcile(uid);
    expect(await bench.record(hash)).toMatchObject({
      state: "running",
      attempt: 1,
      life: 1,
      source,
      job: { uid, namespace: "jobs" },
    });
    expect(await bench.events(hash)).toEqual({ created: 1 });
    const record = await bench.record(hash);
    expect(record && (await bench.streams.store.events.keptMessage(record))).toMatchObject({ subject: "jobs.default.hello" });
    expect(await bench.streams.holds(source)).toBe(true);
    expect(bench.reconciler.isDone(uid)).toBe(false);
  });

  it("again and by two monitors at once: one record, one event", async () => {
    const { uid, hash } = await bench.made("a");
    const all = [bench.reconciler, bench.newReconciler(), bench.newReconciler()];
    await Promise.all(all.map((one) => one.reconcile(uid)));
    await Promise.all(all.map((one) => one.reconcile(uid)));
    expect(await bench.events(hash)).toEqual({ created: 1 });
    expect((await bench.streams.store.records.get(hash))?.record.attempts).toHaveLength(1);
  });

  it("started once, when its container runs", async () => {
    const { uid, hash, job } = await bench.made("a");
    await bench.reconciler.reconcile(uid);
    bench.cluster.end(job, "Complete", terminated(0));
    Object.assign(job, { status: {} });
    await bench.reconciler.reconcile(uid);
    await bench.newReconciler().reconcile(uid);
    expect(await bench.events(hash)).toEqual({ created: 1, started: 1 });
  });

  it("of a Job that is already over settles it, too", async () => {
    const { uid, hash, job, source } = await bench.made("fast");
    bench.cluster.end(job, "Complete", terminated(0, { message: "42" }));
    await bench.reconciler.reconcile(uid);
    expect(await bench.record(hash)).toMatchObject({ state: "succeeded", result: "42" });
    expect(await bench.events(hash)).toEqual({ created: 1, started: 1, succeeded: 1 });
    expect(await bench.streams.holds(source)).toBe(false);
  });

  it("a ttl that an admission policy gave to the Job does not make it settled", async () => {
    const { uid, hash, job } = await bench.made("policy");
    Object.assign(job.spec ?? {}, { ttlSecondsAfterFinished: 5 });
    await bench.reconciler.reconcile(uid);
    expect(await bench.record(hash)).toMatchObject({ state: "running" });
  });
});

describe("J1, S5: an attempt ends", () => {
  it("success: settled, and the Job expires after the queue's keep", async () => {
    const { uid, hash, job, source } = await bench.made("good");
    await bench.reconciler.reconcile(uid);
    bench.cluster.end(job, "Complete", terminated(0));
    await bench.reconciler.reconcile(uid);
    expect(await bench.record(hash)).toMatchObject({
      state: "succeeded",
      attempts: [{ n: 1, outcome: "succeeded", exitCode: 0, node: "node0" }],
    });
    expect(await bench.streams.holds(source)).toBe(false);
    expect(await bench.streams.count("DLQ", ">")).toBe(0);
    expect(job.spec?.ttlSecondsAfterFinished).toBe(120);
    expect(bench.reconciler.isDone(uid)).toBe(true);
  });

  it("failure: dead-lettered with its class", async () => {
    const { uid, hash, job, source } = await bench.made("bad");
    await bench.reconciler.reconcile(uid);
    bench.cluster.end(job, "Failed", terminated(3));
    await bench.reconciler.reconcile(uid);
    expect(await bench.record(hash)).toMatchObject({ state: "dead", attempts: [{ class: "exit", exitCode: 3 }] });
    const entry = await bench.entry(hash);
    expect(entry?.header.get(DLQ_HEADER.exitCode)).toBe("3");
    expect(await bench.streams.holds(source)).toBe(false);
    expect(job.spec?.ttlSecondsAfterFinished).toBe(3600);
  });

  it.each([
    [0, 60],
    [90, 90],
  ])("a message that asks for %d s keeps its evidence for %d s", async (keepSeconds, kept) => {
    const { uid, job } = await bench.made("keep", { keepSeconds });
    bench.cluster.end(job, "Complete", terminated(0));
    await bench.reconciler.reconcile(uid);
    expect(job.spec?.ttlSecondsAfterFinished).toBe(kept);
  });

  it("a verdict rests on a fresh read: what the watch saw as Failed and the server does not is no verdict", async () => {
    const { uid, hash, job } = await bench.made("stale");
    await bench.reconciler.reconcile(uid);
    bench.cluster.end(job, "Failed", terminated(1));
    const stale = structuredClone(bench.observer.sighting(uid));
    Object.assign(job, { status: {} });
    const observer = { sighting: () => stale, forget: () => {}, laterJob: () => undefined, problemIn: () => undefined };
    const late = bench.newReconciler({ observer });
    await late.reconcile(uid);
    expect(await bench.record(hash)).toMatchObject({ state: "running" });
  });

  it("FailureTarget is not the end", async () => {
    const { uid, hash, job } = await bench.made("target");
    Object.assign(job, { status: { conditions: [{ type: "FailureTarget", status: "True" }] } });
    await bench.reconciler.reconcile(uid);
    expect(await bench.record(hash)).toMatchObject({ state: "running" });
  });

  it("I7: two monitors at once: one terminal event, one DLQ entry", async () => {
    for (const outcome of ["Complete", "Failed"] as const) {
      const { uid, hash, job, source } = await bench.made(`two-${outcome}`);
      bench.cluster.end(job, outcome, terminated(outcome === "Complete" ? 0 : 1));
      const monitors = [bench.reconciler, bench.newReconciler(), bench.newReconciler()];
      await Promise.all(monitors.map((monitor) => monitor.reconcile(uid)));
      expect(await bench.events(hash)).toEqual({ created: 1, started: 1, [outcome === "Complete" ? "succeeded" : "dead"]: 1 });
      expect(await bench.streams.count("DLQ", `dlq.${QUEUE}.hello.${hash}.1`)).toBe(outcome === "Complete" ? 0 : 1);
      expect(await bench.streams.holds(source)).toBe(false);
    }
  });
});

describe("F2: settling that was cut off is finished", () => {
  it.each(["Complete", "Failed"] as const)("%s, after a crash at any step", async (outcome) => {
    let steps = 0;
    for (const when of ["before", "after"] as const) {
      for (let at = 1; ; at += 1) {
        const { uid, hash, job, source } = await bench.made(`${outcome}-${when}-${at}`);
        bench.cluster.end(job, outcome, terminated(outcome === "Complete" ? 0 : 1));
        const crash = new CrashPoint({ at, when });
        const dying = {
          records: crash.wrap(bench.streams.store.records),
          events: crash.wrap(bench.streams.store.events),
          deadLetters: crash.wrap(bench.streams.store.deadLetters),
          retries: crash.wrap(bench.streams.store.retries),
          messages: crash.wrap(bench.streams.store.messages),
        };
        await bench
          .newReconciler({}, { ...dying, settler: new Settler(dying) })
          .reconcile(uid)
          .catch((error: unknown) => {
            if (!crash.crashed) throw error;
          });
        await bench.newReconciler().reconcile(uid);
        const state = outcome === "Complete" ? "succeeded" : "dead";
        expect(await bench.events(hash)).toMatchObject({ created: 1, [state]: 1 });
        expect(await bench.record(hash)).toMatchObject({ state });
        expect(await bench.streams.count("DLQ", `dlq.${QUEUE}.hello.${hash}.1`)).toBe(state === "dead" ? 1 : 0);
        expect(await bench.streams.holds(source)).toBe(false);
        expect(job.metadata?.annotations?.[ANNOTATION.settled]).toBe("true");
        if (!crash.crashed) break;
        steps += 1;
      }
    }
    expect(steps).toBeGreaterThanOrEqual(18);
  });
});

describe("F3, F4: a Job that no record wants", () => {
  it("F4: live, with another uid at the recorded attempt: deleted, its message never acknowledged", async () => {
    const first = await bench.made("twin");
    await bench.reconciler.reconcile(first.uid);
    const twin = await bench.made("twin", { prefix: "other" });
    await bench.reconciler.reconcile(twin.uid);
    expect(bench.cluster.objects.has(`jobs/${twin.job.metadata?.name}`)).toBe(false);
    expect(bench.cluster.objects.has(`jobs/${first.job.metadata?.name}`)).toBe(true);
    expect(await bench.streams.holds(twin.source)).toBe(true);
    expect(await bench.record(first.hash)).toMatchObject({ job: { uid: first.uid } });
  });

  it("F3: finished: left as evidence with a ttl", async () => {
    const first = await bench.made("twin");
    await bench.reconciler.reconcile(first.uid);
    const twin = await bench.made("twin", { prefix: "other" });
    bench.cluster.end(twin.job, "Failed", terminated(1));
    await bench.reconciler.reconcile(twin.uid);
    expect(twin.job.spec?.ttlSecondsAfterFinished).toBe(3600);
    expect(await bench.record(first.hash)).toMatchObject({ state: "running", job: { uid: first.uid } });
    expect(await bench.streams.holds(twin.source)).toBe(true);
    expect(await bench.streams.count("DLQ", ">")).toBe(0);
  });

  it.each([
    ["no attempt", { [LABEL.attempt]: "x" }, {}],
    ["a hash that cannot be", { [LABEL.job]: "../../x" }, {}],
    ["no source", {}, { [ANNOTATION.ack]: "jobs.default.x" }],
  ])("I5: edited to have %s: nobody's, nothing is settled from it", async (_what, labels, annotations) => {
    const { uid, job, source } = await bench.made("edited");
    Object.assign(job.metadata?.labels ?? {}, labels);
    Object.assign(job.metadata?.annotations ?? {}, annotations);
    bench.cluster.end(job, "Complete", terminated(0));
    await bench.reconciler.reconcile(uid);
    expect(await bench.streams.holds(source)).toBe(true);
    expect(await bench.streams.count("EVENTS", ">")).toBe(0);
  });
});

describe("J5: somebody deleted the Job", () => {
  it("while it ran: dead, class deleted; nothing vanishes", async () => {
    const { uid, hash, job, source } = await bench.made("deleted");
    await bench.reconciler.reconcile(uid);
    bench.remove(job);
    await bench.reconciler.reconcile(uid);
    expect(await bench.record(hash)).toMatchObject({ state: "dead", attempts: [{ class: "deleted" }] });
    expect(await bench.events(hash)).toEqual({ created: 1, dead: 1 });
    expect(await bench.streams.count("DLQ", ">")).toBe(1);
    expect(await bench.streams.holds(source)).toBe(false);
  });

  it("after it succeeded and before that was recorded: its last sight counts", async () => {
    const { uid, hash, job } = await bench.made("quick");
    await bench.reconciler.reconcile(uid);
    bench.cluster.end(job, "Complete", terminated(0, { message: "42" }));
    bench.remove(job);
    await bench.reconciler.reconcile(uid);
    expect(await bench.record(hash)).toMatchObject({ state: "succeeded", result: "42" });
  });

  it("while no monitor watched: found by the sweep", async () => {
    const { uid, hash, job, source } = await bench.made("unseen");
    await bench.reconciler.reconcile(uid);
    bench.cluster.objects.clear();
    const record = await bench.record(hash);
    if (record?.job === undefined) throw new Error("no record");
    await Promise.all(
      [bench.reconciler, bench.newReconciler()].map((one) =>
        one.reconcileMissing(record, { ...record.job, namespace: "jobs", name: job.metadata?.name ?? "", uid }),
      ),
    );
    expect(await bench.record(hash)).toMatchObject({ state: "dead", attempts: [{ class: "deleted" }] });
    expect(await bench.events(hash)).toEqual({ created: 1, dead: 1 });
    expect(await bench.streams.count("DLQ", ">")).toBe(1);
    expect(await bench.streams.holds(source)).toBe(false);
  });

  it("a sweep that did not see a Job which is there concludes nothing; another uid under its name is none", async () => {
    const { uid, hash, job } = await bench.made("there");
    await bench.reconciler.reconcile(uid);
    const record = await bench.record(hash);
    if (record?.job === undefined) throw new Error("no record");
    await bench.reconciler.reconcileMissing(record, record.job);
    expect(await bench.record(hash)).toMatchObject({ state: "running" });
    bench.cluster.objects.clear();
    bench.cluster.place("jobs", job);
    await bench.reconciler.reconcileMissing(record, record.job);
    expect(await bench.record(hash)).toMatchObject({ state: "dead" });
  });

  it.each([
    ["succeeded", "succeeded"],
    ["dead", "dead"],
  ] as const)("with %s on record in EVENTS: that is the outcome, and no second event", async (_what, state) => {
    const { uid, hash } = await bench.made("restored");
    await bench.reconciler.reconcile(uid);
    const record = await bench.record(hash);
    if (record?.job === undefined) throw new Error("no record");
    await bench.streams.store.events.terminal({ ...record, state });
    bench.cluster.objects.clear();
    await bench.reconciler.reconcileMissing(record, record.job);
    expect(await bench.record(hash)).toMatchObject({ state });
    expect(await bench.events(hash)).toEqual({ created: 1, [state]: 1 });
    expect(await bench.streams.count("DLQ", ">")).toBe(state === "dead" ? 1 : 0);
  });
});
