import type { V1Job } from "@kubernetes/client-node";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { ANNOTATION, jobHash, LABEL, messageHash } from "../../libs/contract/names.ts";
import type { JobRecord } from "../../libs/contract/record.ts";
import { parseDispatchConfig } from "../../libs/kube/dispatch-config-source.ts";
import { jobManifest } from "../../libs/kube/job-manifest.ts";
import { podView } from "../../libs/kube/views.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { Settler } from "../../libs/streams/settle.ts";
import { CrashPoint } from "../../libs/streams/testing/crashing.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { type Delivered, INSTANCE, Workbench } from "../../libs/streams/testing/workbench.ts";
import { FakeCluster } from "../testing/fake-cluster.ts";
import type { Sighting } from "./observer.ts";
import { Reconciler } from "./reconciler.ts";
import { UnroutedMessages } from "./unrouted-messages.ts";

const QUEUE = "default";
const config = parseDispatchConfig(JSON.stringify({ queues: { [QUEUE]: { keep: { succeeded: "2m", failed: "1h" } } } }));

let server: NatsTestServer;
let bench: Workbench;
let cluster: FakeCluster;
let gone: Map<string, Sighting>;
let reconciler: Reconciler;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: [QUEUE] });
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(async () => {
  for (const stream of ["JOBS", "EVENTS", "DLQ", "KV_millrace_jobs"]) await bench.manager.streams.purge(stream);
  cluster = await FakeCluster.start();
  gone = new Map();
  reconciler = newReconciler();
});
afterEach(() => cluster[Symbol.asyncDispose]());

/** What a watch of the fake cluster sees. */
function sighting(uid: string): Sighting | undefined {
  const job = [...cluster.objects.values()].find(({ metadata }) => metadata?.uid === uid);
  const pods = cluster.pods.map((pod) => podView(pod)).filter(({ jobUid }) => jobUid === uid);
  return job === undefined ? gone.get(uid) : { job: cluster.view(job), pods, gone: false };
}
function newReconciler(store = bench.store): Reconciler {
  const observer = { sighting, forget: (uid: string) => void gone.delete(uid) };
  return new Reconciler({
    store,
    observer,
    jobs: cluster.jobs,
    config: () => config,
    metrics: new Metrics("test"),
    log: silentLog,
  });
}
/** Somebody deletes the Job object; the watch reports its last state. */
function remove(job: V1Job): void {
  const seen = sighting(job.metadata?.uid ?? "");
  if (seen === undefined) throw new Error("no such Job");
  cluster.objects.delete(`jobs/${job.metadata?.name}`);
  gone.set(seen.job.uid, { ...seen, gone: true });
}

interface Made extends Delivered {
  readonly job: V1Job;
  readonly uid: string;
  readonly hash: string;
}

/** A published message and the Job that a dispatcher made of it. */
async function made(
  id: string,
  rest: { readonly prefix?: string; readonly attempt?: number; readonly keepSeconds?: number } = {},
): Promise<Made> {
  const body = JSON.stringify({ id, template: "hello" });
  await bench.publish(QUEUE, body);
  const delivered = await bench.one(QUEUE);
  const hash = jobHash(INSTANCE, QUEUE, id);
  const queue = config.queues[QUEUE];
  if (queue === undefined) throw new Error("no queue");
  const manifest = jobManifest(
    {
      instance: INSTANCE,
      queue: QUEUE,
      type: "hello",
      id,
      hash,
      attempt: rest.attempt ?? 1,
      messageHash: messageHash(Buffer.from(body)),
      ack: delivered.ack,
      traceparent: undefined,
    },
    {
      namespace: "jobs",
      prefix: rest.prefix ?? "hello",
      service: undefined,
      podSpec: { containers: [{ name: "main" }] },
      deadlineSeconds: 60,
      keepSeconds: rest.keepSeconds,
      attempts: undefined,
      params: {},
    },
    queue,
  );
  const job = cluster.place("jobs", manifest);
  return { ...delivered, job, hash, uid: job.metadata?.uid ?? "" };
}
const recordOf = async (hash: string): Promise<JobRecord | undefined> => (await bench.store.records.get(hash))?.record;
const events = async (hash: string): Promise<Record<string, number>> => {
  const counts = await bench.counts("EVENTS", `events.${QUEUE}.${hash}.>`);
  return Object.fromEntries(Object.entries(counts).map(([subject, count]) => [subject.split(".").at(-1), count]));
};
const terminated = (exitCode: number, message = "") =>
  ({
    containerStatuses: [
      {
        name: "main",
        image: "",
        imageID: "",
        ready: false,
        restartCount: 0,
        state: {
          terminated: {
            exitCode,
            reason: exitCode === 0 ? "Completed" : "Error",
            message,
            startedAt: "2026-01-01T00:00:01Z",
            finishedAt: "2026-01-01T00:00:09Z",
          },
        },
      },
    ],
  }) as unknown as NonNullable<Parameters<FakeCluster["end"]>[2]>;

describe("F1: the first sight of a Job", () => {
  it("event created, which carries the message, then the record; the message stays", async () => {
    const { uid, hash, source } = await made("a");
    await reconciler.reconcile(uid);
    expect(await recordOf(hash)).toMatchObject({
      state: "running",
      attempt: 1,
      life: 1,
      source,
      job: { uid, namespace: "jobs" },
    });
    expect(await events(hash)).toEqual({ created: 1 });
    const record = await recordOf(hash);
    expect(record && (await bench.store.events.keptMessage(record))).toMatchObject({ subject: "jobs.default.hello" });
    expect(await bench.holds(source)).toBe(true);
    expect(reconciler.isDone(uid)).toBe(false);
  });

  it("again and by two monitors at once: one record, one event", async () => {
    const { uid, hash } = await made("a");
    const all = [reconciler, newReconciler(), newReconciler()];
    await Promise.all(all.map((one) => one.reconcile(uid)));
    await Promise.all(all.map((one) => one.reconcile(uid)));
    expect(await events(hash)).toEqual({ created: 1 });
    expect((await bench.store.records.get(hash))?.record.attempts).toHaveLength(1);
  });

  it("started once, when its container runs", async () => {
    const { uid, hash, job } = await made("a");
    await reconciler.reconcile(uid);
    cluster.end(job, "Complete", terminated(0));
    Object.assign(job, { status: {} });
    await reconciler.reconcile(uid);
    await newReconciler().reconcile(uid);
    expect(await events(hash)).toEqual({ created: 1, started: 1 });
  });

  it("of a Job that is already over settles it, too", async () => {
    const { uid, hash, job, source } = await made("fast");
    cluster.end(job, "Complete", terminated(0, "42"));
    await reconciler.reconcile(uid);
    expect(await recordOf(hash)).toMatchObject({ state: "succeeded", result: "42" });
    expect(await events(hash)).toEqual({ created: 1, started: 1, succeeded: 1 });
    expect(await bench.holds(source)).toBe(false);
  });

  it("a ttl that an admission policy gave to the Job does not make it settled", async () => {
    const { uid, hash, job } = await made("policy");
    Object.assign(job.spec ?? {}, { ttlSecondsAfterFinished: 5 });
    await reconciler.reconcile(uid);
    expect(await recordOf(hash)).toMatchObject({ state: "running" });
  });
});

describe("J1, S5: an attempt ends", () => {
  it("success: settled, and the Job expires after the queue's keep", async () => {
    const { uid, hash, job, source } = await made("good");
    await reconciler.reconcile(uid);
    cluster.end(job, "Complete", terminated(0));
    await reconciler.reconcile(uid);
    expect(await recordOf(hash)).toMatchObject({
      state: "succeeded",
      attempts: [{ n: 1, outcome: "succeeded", exitCode: 0, node: "node0" }],
    });
    expect(await bench.holds(source)).toBe(false);
    expect(await bench.count("DLQ", ">")).toBe(0);
    expect(job.spec?.ttlSecondsAfterFinished).toBe(120);
    expect(reconciler.isDone(uid)).toBe(true);
  });

  it("failure: dead-lettered with its class", async () => {
    const { uid, hash, job, source } = await made("bad");
    await reconciler.reconcile(uid);
    cluster.end(job, "Failed", terminated(3));
    await reconciler.reconcile(uid);
    expect(await recordOf(hash)).toMatchObject({ state: "dead", attempts: [{ class: "exit", exitCode: 3 }] });
    const entry = await bench.manager.streams.getMessage("DLQ", { last_by_subj: `dlq.${QUEUE}.hello.${hash}.1` });
    expect(entry?.header.get(DLQ_HEADER.exitCode)).toBe("3");
    expect(await bench.holds(source)).toBe(false);
    expect(job.spec?.ttlSecondsAfterFinished).toBe(3600);
  });

  it.each([
    [0, 60],
    [90, 90],
  ])("a message that asks for %d s keeps its evidence for %d s", async (keepSeconds, kept) => {
    const { uid, job } = await made("keep", { keepSeconds });
    cluster.end(job, "Complete", terminated(0));
    await reconciler.reconcile(uid);
    expect(job.spec?.ttlSecondsAfterFinished).toBe(kept);
  });

  it("a verdict rests on a fresh read: what the watch saw as Failed and the server does not is no verdict", async () => {
    const { uid, hash, job } = await made("stale");
    await reconciler.reconcile(uid);
    cluster.end(job, "Failed", terminated(1));
    const stale = structuredClone(sighting(uid));
    Object.assign(job, { status: {} });
    if (stale === undefined) throw new Error("no sighting");
    const late = new Reconciler({
      store: bench.store,
      observer: { sighting: () => stale, forget: () => {} },
      jobs: cluster.jobs,
      config: () => config,
      metrics: new Metrics("test"),
      log: silentLog,
    });
    await late.reconcile(uid);
    expect(await recordOf(hash)).toMatchObject({ state: "running" });
  });

  it("FailureTarget is not the end", async () => {
    const { uid, hash, job } = await made("target");
    Object.assign(job, { status: { conditions: [{ type: "FailureTarget", status: "True" }] } });
    await reconciler.reconcile(uid);
    expect(await recordOf(hash)).toMatchObject({ state: "running" });
  });

  it("I7: two monitors at once: one terminal event, one DLQ entry", async () => {
    for (const outcome of ["Complete", "Failed"] as const) {
      const { uid, hash, job, source } = await made(`two-${outcome}`);
      cluster.end(job, outcome, terminated(outcome === "Complete" ? 0 : 1));
      const monitors = [reconciler, newReconciler(), newReconciler()];
      await Promise.all(monitors.map((monitor) => monitor.reconcile(uid)));
      expect(await events(hash)).toEqual({ created: 1, started: 1, [outcome === "Complete" ? "succeeded" : "dead"]: 1 });
      expect(await bench.count("DLQ", `dlq.${QUEUE}.hello.${hash}.1`)).toBe(outcome === "Complete" ? 0 : 1);
      expect(await bench.holds(source)).toBe(false);
    }
  });
});

describe("F2: settling that was cut off is finished", () => {
  it.each(["Complete", "Failed"] as const)("%s, after a crash at any step", async (outcome) => {
    let steps = 0;
    for (const when of ["before", "after"] as const) {
      for (let at = 1; ; at += 1) {
        const { uid, hash, job, source } = await made(`${outcome}-${when}-${at}`);
        cluster.end(job, outcome, terminated(outcome === "Complete" ? 0 : 1));
        const crash = new CrashPoint({ at, when });
        const dying = {
          records: crash.wrap(bench.store.records),
          events: crash.wrap(bench.store.events),
          deadLetters: crash.wrap(bench.store.deadLetters),
          messages: crash.wrap(bench.store.messages),
        };
        await newReconciler({ ...dying, settler: new Settler(dying) })
          .reconcile(uid)
          .catch((error: unknown) => {
            if (!crash.crashed) throw error;
          });
        await newReconciler().reconcile(uid);
        const state = outcome === "Complete" ? "succeeded" : "dead";
        expect(await events(hash)).toMatchObject({ created: 1, [state]: 1 });
        expect(await recordOf(hash)).toMatchObject({ state });
        expect(await bench.count("DLQ", `dlq.${QUEUE}.hello.${hash}.1`)).toBe(state === "dead" ? 1 : 0);
        expect(await bench.holds(source)).toBe(false);
        expect(job.metadata?.annotations?.[ANNOTATION.settled]).toBe("true");
        if (!crash.crashed) break;
        steps += 1;
      }
    }
    expect(steps).toBeGreaterThanOrEqual(20);
  });
});

describe("F3, F4: a Job that no record wants", () => {
  it("F4: live, with another uid at the recorded attempt: deleted, its message never acknowledged", async () => {
    const first = await made("twin");
    await reconciler.reconcile(first.uid);
    const twin = await made("twin", { prefix: "other" });
    await reconciler.reconcile(twin.uid);
    expect(cluster.objects.has(`jobs/${twin.job.metadata?.name}`)).toBe(false);
    expect(cluster.objects.has(`jobs/${first.job.metadata?.name}`)).toBe(true);
    expect(await bench.holds(twin.source)).toBe(true);
    expect(await recordOf(first.hash)).toMatchObject({ job: { uid: first.uid } });
  });

  it("F3: finished: left as evidence with a ttl", async () => {
    const first = await made("twin");
    await reconciler.reconcile(first.uid);
    const twin = await made("twin", { prefix: "other" });
    cluster.end(twin.job, "Failed", terminated(1));
    await reconciler.reconcile(twin.uid);
    expect(twin.job.spec?.ttlSecondsAfterFinished).toBe(3600);
    expect(await recordOf(first.hash)).toMatchObject({ state: "running", job: { uid: first.uid } });
    expect(await bench.holds(twin.source)).toBe(true);
    expect(await bench.count("DLQ", ">")).toBe(0);
  });

  it.each([
    ["no attempt", { [LABEL.attempt]: "x" }, {}],
    ["a hash that cannot be", { [LABEL.job]: "../../x" }, {}],
    ["no source", {}, { [ANNOTATION.ack]: "jobs.default.x" }],
  ])("I5: edited to have %s: nobody's, nothing is settled from it", async (_what, labels, annotations) => {
    const { uid, job, source } = await made("edited");
    Object.assign(job.metadata?.labels ?? {}, labels);
    Object.assign(job.metadata?.annotations ?? {}, annotations);
    cluster.end(job, "Complete", terminated(0));
    await reconciler.reconcile(uid);
    expect(await bench.holds(source)).toBe(true);
    expect(await bench.count("EVENTS", ">")).toBe(0);
  });
});

describe("J5: somebody deleted the Job", () => {
  it("while it ran: dead, class deleted; nothing vanishes", async () => {
    const { uid, hash, job, source } = await made("deleted");
    await reconciler.reconcile(uid);
    remove(job);
    await reconciler.reconcile(uid);
    expect(await recordOf(hash)).toMatchObject({ state: "dead", attempts: [{ class: "deleted" }] });
    expect(await events(hash)).toEqual({ created: 1, dead: 1 });
    expect(await bench.count("DLQ", ">")).toBe(1);
    expect(await bench.holds(source)).toBe(false);
  });

  it("after it succeeded and before that was recorded: its last sight counts", async () => {
    const { uid, hash, job } = await made("quick");
    await reconciler.reconcile(uid);
    cluster.end(job, "Complete", terminated(0, "42"));
    remove(job);
    await reconciler.reconcile(uid);
    expect(await recordOf(hash)).toMatchObject({ state: "succeeded", result: "42" });
  });

  it("while no monitor watched: found by the sweep", async () => {
    const { uid, hash, job, source } = await made("unseen");
    await reconciler.reconcile(uid);
    cluster.objects.clear();
    const record = await recordOf(hash);
    if (record?.job === undefined) throw new Error("no record");
    await Promise.all(
      [reconciler, newReconciler()].map((one) =>
        one.reconcileMissing(record, { ...record.job, namespace: "jobs", name: job.metadata?.name ?? "", uid }),
      ),
    );
    expect(await recordOf(hash)).toMatchObject({ state: "dead", attempts: [{ class: "deleted" }] });
    expect(await events(hash)).toEqual({ created: 1, dead: 1 });
    expect(await bench.count("DLQ", ">")).toBe(1);
    expect(await bench.holds(source)).toBe(false);
  });

  it("a sweep that did not see a Job which is there concludes nothing; another uid under its name is none", async () => {
    const { uid, hash, job } = await made("there");
    await reconciler.reconcile(uid);
    const record = await recordOf(hash);
    if (record?.job === undefined) throw new Error("no record");
    await reconciler.reconcileMissing(record, record.job);
    expect(await recordOf(hash)).toMatchObject({ state: "running" });
    cluster.objects.clear();
    cluster.place("jobs", job);
    await reconciler.reconcileMissing(record, record.job);
    expect(await recordOf(hash)).toMatchObject({ state: "dead" });
  });

  it.each([
    ["succeeded", "succeeded"],
    ["dead", "dead"],
  ] as const)("with %s on record in EVENTS: that is the outcome, and no second event", async (_what, state) => {
    const { uid, hash } = await made("restored");
    await reconciler.reconcile(uid);
    const record = await recordOf(hash);
    if (record?.job === undefined) throw new Error("no record");
    await bench.store.events.terminal({ ...record, state });
    cluster.objects.clear();
    await reconciler.reconcileMissing(record, record.job);
    expect(await recordOf(hash)).toMatchObject({ state });
    expect(await events(hash)).toEqual({ created: 1, [state]: 1 });
    expect(await bench.count("DLQ", ">")).toBe(state === "dead" ? 1 : 0);
  });
});

describe("Sweeps: a subject that no queue takes", () => {
  it("is dead-lettered after its time, and what a queue takes is left alone", async () => {
    const routed = await made("routed");
    const lone = await bench.client.publish("jobs.default", "no type");
    const unknown = await bench.client.publish("jobs.nobody.hello", "no queue");
    const { signal } = new AbortController();
    const options = { connection: bench.connection, store: bench.store, log: silentLog };
    await (await UnroutedMessages.open({ ...options, afterMs: 3_600_000 })).sweep(signal);
    expect(await bench.count("DLQ", ">")).toBe(0);
    const sweeps = await Promise.all([0, 0].map((afterMs) => UnroutedMessages.open({ ...options, afterMs })));
    await Promise.all(sweeps.map((sweep) => sweep.sweep(signal)));
    expect(await bench.count("DLQ", "dlq.nobody.hello.>")).toBe(1);
    expect(await bench.count("DLQ", "dlq.default._.>")).toBe(1);
    expect(await bench.manager.streams.getMessage("JOBS", { seq: unknown.seq })).toBeNull();
    expect(await bench.manager.streams.getMessage("JOBS", { seq: lone.seq })).toBeNull();
    expect(await bench.holds(routed.source)).toBe(true);
  });
});
