import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { headers } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { ANNOTATION, jobHash, LABEL } from "../../../libs/contract/names.ts";
import type { JobView } from "../../../libs/contract/observation.ts";
import { type AttemptRecord, type JobRecord, QUEUE_HEADER, STATE_HEADER } from "../../../libs/contract/record.ts";
import { eventSubject } from "../../../libs/contract/subjects.ts";
import { jobViewOf } from "../../../libs/contract/testing/records.ts";
import { JobsApi } from "../../../libs/kube/jobs-api.ts";
import { FakeApiServer, json, refuse } from "../../../libs/kube/testing/fake-api-server.ts";
import { silentLog } from "../../../libs/runtime/log.ts";
import { ask } from "../../../libs/streams/request-client.ts";
import { NatsTestServer } from "../../../libs/streams/testing/nats-server.ts";
import { INSTANCE, queuesOf, Workbench } from "../../../libs/streams/testing/workbench.ts";
import { openRequestServer } from "./open-server.ts";
import type { RequestServer } from "./request-server.ts";

const QUEUES = ["default", "other"];

/** What the cluster has of the one attempt that a test looks at. */
interface Attempt {
  job?: Partial<V1Job>;
  pod?: Partial<V1Pod>;
  log?: string;
}

let server: NatsTestServer;
let bench: Workbench;
let api: FakeApiServer;
let requests: RequestServer;
let cluster: Attempt = {};
let configured: readonly string[] = QUEUES;
let liveJobs: JobView[] = [];
let stopped: { uid: string; reason: string }[] = [];
/** What happens right before a Stop is written. */
let beforeStop: () => Promise<void> = () => Promise.resolve();

beforeAll(async () => {
  server = await NatsTestServer.start();
  api = await FakeApiServer.start(({ method, path, query, response }) => {
    if (path.endsWith("/log")) {
      const since = query.get("sinceTime") === null ? "" : "asked since\n";
      return void (cluster.log === undefined
        ? refuse(response, 400, "BadRequest", "the container is waiting to start")
        : response.end(cluster.log.replace("SINCE\n", since)));
    }
    if (path.endsWith("/pods")) return json(response, 200, { items: cluster.pod === undefined ? [] : [cluster.pod] });
    return cluster.job === undefined ? refuse(response, 404, "NotFound", method) : json(response, 200, cluster.job);
  });
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});
/** Streams are made anew: a list shows what one test put there. */
beforeEach(async () => {
  cluster = {};
  configured = QUEUES;
  liveJobs = [];
  stopped = [];
  beforeStop = () => Promise.resolve();
  bench = await Workbench.open(server, { queues: QUEUES });
  requests = await openRequestServer({
    connection: bench.connection,
    instance: INSTANCE,
    queues: () => configured,
    store: bench.store,
    jobs: new JobsApi({ client: api.client }),
    beginStop: async (job, reason) => {
      await beforeStop();
      stopped.push({ uid: job.uid, reason });
      return cluster.job !== undefined;
    },
    liveJobs: () => liveJobs,
    log: silentLog,
  });
  await requests.start();
});
afterEach(async () => {
  await requests.stop();
  for await (const stream of bench.manager.streams.list()) await bench.manager.streams.delete(stream.config.name);
});

/** A record as the test wants it, after the first sight of its Job. */
async function recorded(queue: string, id: string, rest: Partial<JobRecord> = {}): Promise<JobRecord> {
  const { record } = await bench.running(queue, id);
  const stored = await bench.store.records.get(record.hash);
  const changed = { ...record, ...rest };
  await bench.store.records.swap(changed, stored?.revision ?? 0);
  return changed;
}
const attempt = (rest: Partial<AttemptRecord>): AttemptRecord => ({ n: 1, uid: "uid-1", ...rest });
const get = (id: string, queue?: string) => ask(bench.connection, "get", { id, ...(queue === undefined ? {} : { queue }) });
const list = (given: Parameters<typeof ask<"list">>[2]) => ask(bench.connection, "list", given);
const refusal = (code: string, message?: RegExp) =>
  expect.objectContaining({ code, ...(message === undefined ? {} : { message: expect.stringMatching(message) }) });

describe("P1: which job an id names", () => {
  it("without a queue every configured queue is tried; on several the queue must be named", async () => {
    await recorded("default", "twice");
    await recorded("other", "twice");
    await recorded("other", "once");
    expect((await get("once")).queue).toBe("other");
    await expect(get("twice")).rejects.toEqual(refusal("ID_AMBIGUOUS", /default, other/));
    expect((await get("twice", "default")).record?.queue).toBe("default");
  });

  it("a queue that is not configured is unknown, unless its job is recorded", async () => {
    await recorded("other", "a");
    configured = ["default"];
    expect((await get("a", "other")).record?.id).toBe("a");
    await expect(get("b", "other")).rejects.toEqual(refusal("QUEUE_UNKNOWN", /there are: default/));
  });
});

describe("cancel", () => {
  const cancel = (id: string, queue?: string) =>
    ask(bench.connection, "cancel", { id, by: "ann", ...(queue === undefined ? {} : { queue }) });

  it("P1: without a record the only queue, or the named one, gets a tombstone; of several one must be named", async () => {
    await expect(cancel("new")).rejects.toEqual(refusal("QUEUE_REQUIRED", /default, other/));
    expect(await cancel("new", "default")).toMatchObject({ kind: "cancelled", record: { state: "cancelled", queue: "default" } });
    expect(await cancel("new")).toMatchObject({ kind: "already" });
    configured = ["other"];
    expect(await cancel("newer")).toMatchObject({ kind: "cancelled", record: { queue: "other" } });
  });

  it("P1: a running attempt is stopped, and the answer says that it is not over", async () => {
    const record = await recorded("default", "runs");
    cluster.job = { metadata: { uid: record.job?.uid ?? "" } };
    expect(await cancel("runs")).toMatchObject({ kind: "cancelling", record: { state: "running" } });
    expect(stopped).toEqual([{ uid: "uid-runs", reason: "cancelled by ann" }]);
    cluster = {};
    await expect(cancel("runs")).rejects.toEqual(refusal("NOT_ALLOWED_NOW", /Job is gone/));
  });

  it("P1: an attempt that failed right before its Stop does not go on to its retry", async () => {
    const record = await recorded("default", "fails");
    cluster.job = { metadata: { uid: record.job?.uid ?? "" } };
    beforeStop = async () => {
      const stored = await bench.store.records.get(record.hash);
      const next = { attempt: 2, notBefore: "2099-01-01T00:00:00Z" };
      await bench.store.records.swap({ ...record, state: "retrying", next }, stored?.revision ?? 0);
    };
    expect(await cancel("fails")).toMatchObject({ kind: "cancelled", record: { state: "cancelled" } });
  });

  it("what has ended is not cancelled", async () => {
    await recorded("default", "done", { state: "succeeded" });
    await expect(cancel("done")).rejects.toEqual(refusal("NOT_ALLOWED_NOW", /done cannot be cancelled/));
  });
});

describe("P3: rerun", () => {
  const rerun = (id: string) => ask(bench.connection, "rerun", { id, by: "ann" });

  it("schedules another life of a job that has ended; one that runs is refused, one that is unknown is said to be", async () => {
    await recorded("default", "done", { state: "succeeded" });
    expect(await rerun("done")).toMatchObject({ kind: "scheduled", record: { state: "retrying", life: 2 } });
    await recorded("default", "runs");
    await expect(rerun("runs")).rejects.toEqual(refusal("NOT_ALLOWED_NOW"));
    await expect(rerun("never")).rejects.toEqual(refusal("ID_UNKNOWN"));
  });
});

describe("list", () => {
  it("latest change first, filtered by queue, state, class and time, cut at the limit", async () => {
    await recorded("default", "a", { state: "succeeded" });
    await recorded("default", "b", { state: "dead", attempts: [attempt({ class: "oom" })], reason: "out of memory" });
    await recorded("other", "c", { state: "dead", attempts: [attempt({ class: "exit" })] });
    const storedMs = Date.now();
    await vi.waitUntil(() => Date.now() > storedMs, { interval: 1 });
    const between = new Date().toISOString();
    await recorded("default", "d");
    const ids = async (given: Parameters<typeof list>[0]) => (await list(given)).jobs.map(({ id }) => id);
    expect(await ids({})).toEqual(["d", "c", "b", "a"]);
    expect(await ids({ queue: "default" })).toEqual(["d", "b", "a"]);
    expect(await ids({ state: "dead" })).toEqual(["c", "b"]);
    expect(await ids({ class: "oom" })).toEqual(["b"]);
    expect(await ids({ since: between })).toEqual(["d"]);
    expect(await list({ limit: 4 })).toMatchObject({ truncated: false });
    expect(await list({ limit: 3 })).toMatchObject({ truncated: true, jobs: [{ id: "d" }, { id: "c" }, { id: "b" }] });
    expect((await list({ class: "oom" })).jobs[0]).toMatchObject({
      state: "dead",
      class: "oom",
      reason: "out of memory",
      attempt: 1,
    });
  });

  it("a record that cannot be read hides no other, and is on the list itself", async () => {
    await recorded("default", "fine", { state: "succeeded" });
    const head = headers();
    head.set(STATE_HEADER, "dead");
    head.set(QUEUE_HEADER, "other");
    await bench.client.publish(`$KV.millrace_jobs.${"b".repeat(20)}`, "not a record", { headers: head });
    expect((await list({ state: "succeeded" })).jobs).toHaveLength(1);
    expect((await list({ queue: "default" })).jobs).toHaveLength(1);
    const [unreadable] = (await list({ state: "dead" })).jobs;
    expect(unreadable).toMatchObject({ hash: "b".repeat(20), queue: "other", state: "dead" });
    expect(unreadable?.reason).toMatch(/cannot be read/);
  });

  it("nothing recorded is an empty list", async () => {
    expect(await list({})).toEqual({ ok: true, jobs: [], truncated: false });
  });
});

describe("get", () => {
  it("the timeline has what happened, without the message, and a dead job is told what to do", async () => {
    const { record, source } = await bench.running("default", "a");
    const message = await bench.store.messages.read(source);
    if (message === undefined) throw new Error("no message");
    await bench.store.events.created(record, message);
    const dead = {
      ...record,
      state: "dead" as const,
      attempts: [attempt({ class: "exit", exitCode: 3 })],
      reason: "exit code 3",
    };
    await bench.store.events.terminal(dead);
    await bench.store.records.swap(dead, (await bench.store.records.get(record.hash))?.revision ?? 0);
    const answer = await get("a");
    expect(answer.timeline.map(({ kind }) => kind)).toEqual(["created", "dead"]);
    expect(answer.timeline[1]).toMatchObject({ attempt: 1, class: "exit", exitCode: 3, reason: "exit code 3" });
    expect(JSON.stringify(answer)).not.toContain("bodyBase64");
    expect(answer.explanations[0]?.todo).toContain(`DLQ dlq.default.hello.${record.hash}.1`);
  });

  it("a message without a record is found in JOBS: in line, behind others, delivered", async () => {
    await bench.publish("default", JSON.stringify({ id: "first", template: "hello" }));
    await bench.publish("default", JSON.stringify({ template: "hello" }), { "Nats-Msg-Id": "second" });
    expect((await get("first")).explanations[0]?.why).toBe("it is due and will be taken at once");
    expect((await get("second")).explanations[0]?.why).toBe("1 message comes before it on queue default");
    await bench.one("default");
    expect((await get("first")).explanations[0]?.why).toContain("a dispatcher has it");
    await expect(get("third")).rejects.toEqual(refusal("ID_UNKNOWN", /1 wait on queue default, 0 wait on queue other/));
  });

  it("D8: what the cluster said no to, as the last event tells", async () => {
    await bench.publish("default", JSON.stringify({ id: "held", template: "hello" }));
    await bench.one("default");
    const subject = eventSubject("default", jobHash(INSTANCE, "default", "held"), 1, "blocked");
    const event = { time: "2026-01-01T00:00:00Z", data: { reason: "exceeded quota: jobs" } };
    await bench.client.publish(subject, JSON.stringify(event));
    const answer = await get("held");
    expect(answer.explanations[0]?.why).toBe("the cluster has been refusing it since 2026-01-01T00:00:00Z: exceeded quota: jobs");
    expect(answer.record).toBeUndefined();
  });

  it("P4, slots: a paused queue and the jobs that use its slots are named", async () => {
    const config = queuesOf(QUEUES);
    Object.assign(config.queues["default"] ?? {}, { slots: 1 });
    await bench.provisioner.consumers(config);
    await bench.running("default", "busy");
    await bench.publish("default", JSON.stringify({ id: "waits", template: "hello" }));
    liveJobs = [jobViewOf({ labels: { [LABEL.queue]: "default" }, annotations: { [ANNOTATION.id]: "busy" } })];
    expect((await get("waits")).explanations[0]?.why).toMatch(/^all 1 slots of queue default are in use, the longest by busy \(/);
    await ask(bench.connection, "pause", { queue: "default", by: "ann", reason: "upgrade" });
    expect((await get("waits")).explanations[0]).toEqual({
      why: "queue default is paused until it is resumed by ann: upgrade",
      todo: "millrace queues resume default",
    });
  });

  it("a running attempt's pod tells: no node fits, the image, the API server's silence, a Job of another uid", async () => {
    const record = await recorded("default", "a");
    const why = async () => (await get("a")).explanations[0]?.why;
    expect(await why()).toContain("is not in the cluster");
    cluster.job = { metadata: { uid: record.job?.uid ?? "", namespace: "jobs", name: "j" } };
    expect(await why()).toContain("has no pod yet");
    const condition = { type: "PodScheduled", status: "False", reason: "Unschedulable", message: "0/1 nodes are available" };
    cluster.pod = { metadata: { name: "p" }, status: { phase: "Pending", conditions: [condition] } };
    expect(await why()).toMatch(/^unschedulable since .*0\/1 nodes are available$/);
    const waiting = { reason: "ImagePullBackOff", message: "back-off" };
    const status = { name: "main", ready: false, image: "", imageID: "", restartCount: 0, state: { waiting } };
    cluster.pod = { metadata: { name: "p" }, status: { phase: "Pending", containerStatuses: [status] } };
    expect(await why()).toContain("cannot be pulled: ImagePullBackOff: back-off");
    cluster.job = { metadata: { uid: "another" } };
    expect(await why()).toContain("is not in the cluster");
  });

  it("a retry that sleeps says until when and after what", async () => {
    await recorded("default", "a", {
      state: "retrying",
      attempts: [attempt({ class: "exit", reason: "exit code 3" })],
      next: { attempt: 2, notBefore: "2100-01-01T00:00:00Z" },
    });
    expect((await get("a")).explanations[0]?.why).toMatch(/^attempt 2 sleeps until 2100-.* after exit: exit code 3$/);
  });
});

describe("queues", () => {
  const queues = async () => {
    const answer = await ask(bench.connection, "queues", {});
    return Object.fromEntries(answer.queues.map((row) => [row.queue, row]));
  };

  it("counts what waits, runs, sleeps and is dead, for each queue", async () => {
    await bench.running("default", "runs");
    const { record } = await bench.running("default", "retries");
    await bench.publish("default", "waits");
    await bench.publish("default", "waits too");
    await bench.client.publish(`retry.at.${record.hash}.2`, "sleeps");
    for (const name of ["x", "y"]) await bench.client.publish(`dlq.default.hello.${name}`, "dead");
    await bench.client.publish("dlq.other.hello.z", "dead");
    const { default: first, other } = await queues();
    expect(first).toMatchObject({ configured: true, waiting: 2, running: 2, slots: 100, retrySlots: 10, sleeping: 1, dead: 2 });
    expect(other).toMatchObject({ waiting: 0, running: 0, sleeping: 0, dead: 1 });
    expect(first?.paused).toBeUndefined();
  });

  it("P4: pause and resume are shown, and a queue that nobody declared cannot be paused", async () => {
    const { paused } = await ask(bench.connection, "pause", { queue: "default", forMs: 3_600_000, reason: "upgrade", by: "ann" });
    expect(Date.parse(paused.until ?? "")).toBeGreaterThan(Date.now());
    expect((await queues())["default"]?.paused).toMatchObject({ reason: "upgrade", by: "ann" });
    expect(await ask(bench.connection, "resume", { queue: "default" })).toMatchObject({ wasPaused: true });
    expect(await ask(bench.connection, "resume", { queue: "default" })).toMatchObject({ wasPaused: false });
    expect((await queues())["default"]?.paused).toBeUndefined();
    const unknown = ask(bench.connection, "pause", { queue: "nope" });
    await expect(unknown).rejects.toEqual(refusal("QUEUE_UNKNOWN", /default, other/));
  });

  it("a queue that was removed from the configuration is shown while its consumers are there", async () => {
    configured = ["default"];
    expect((await queues())["other"]).toMatchObject({ configured: false });
  });
});

describe("logs", () => {
  const logs = (given: Omit<Parameters<typeof ask<"logs">>[2], "id">) => ask(bench.connection, "logs", { id: "a", ...given });
  const pod: Partial<V1Pod> = {
    metadata: { name: "p" },
    spec: { containers: [{ name: "main", env: [{ name: "API_TOKEN", value: "hunter2" }] }] },
  };

  it("of a live attempt: the pod's lines with their times, secrets redacted; from a time on, only what is later", async () => {
    await recorded("default", "a");
    expect(await logs({})).toMatchObject({ live: true, from: "none", note: "no container of it has started yet" });
    cluster.pod = pod;
    cluster.log = "2026-01-01T00:00:01.5Z one\n2026-01-01T00:00:02Z token hunter2\n";
    expect(await logs({})).toMatchObject({
      attempt: 1,
      live: true,
      from: "pod",
      lines: [
        { at: "2026-01-01T00:00:01.5Z", text: "one" },
        { at: "2026-01-01T00:00:02Z", text: "token [redacted API_TOKEN]" },
      ],
    });
    expect((await logs({ since: "2026-01-01T00:00:01.500Z" })).lines.map(({ text }) => text)).toEqual([
      "token [redacted API_TOKEN]",
    ]);
  });

  it("of an attempt that failed: the kept tail; of another one what its pod still has; else why there is none", async () => {
    const record = await recorded("default", "a", { state: "dead" });
    expect(await logs({})).toMatchObject({ live: false, from: "none", note: expect.stringContaining("only the logs of failed") });
    cluster.pod = pod;
    cluster.log = "2026-01-01T00:00:01Z left\n";
    expect(await logs({})).toMatchObject({ live: false, from: "pod", lines: [{ text: "left" }] });
    await bench.store.logs.put(record.hash, 1, "kept\ntail\n");
    expect(await logs({})).toMatchObject({ from: "kept", lines: [{ text: "kept" }, { text: "tail" }] });
  });

  it("a follower gets the last lines of an attempt that has just ended, and not its tail again", async () => {
    const record = await recorded("default", "a", { state: "dead" });
    await bench.store.logs.put(record.hash, 1, "seen\n");
    const since = "2026-01-01T00:00:01Z";
    expect(await logs({ since })).toMatchObject({ live: false, from: "none", lines: [] });
    cluster.pod = pod;
    cluster.log = "2026-01-01T00:00:01Z seen\n2026-01-01T00:00:02Z last\n";
    expect(await logs({ since })).toMatchObject({ live: false, from: "pod", lines: [{ text: "last" }] });
  });

  it("a long log is cut at its start, and says so", async () => {
    await recorded("default", "a");
    cluster.pod = pod;
    cluster.log = Array.from({ length: 6_000 }, (_, n) => `2026-01-01T00:00:00Z line ${n}\n`).join("");
    const { lines, note } = await logs({});
    expect(lines).toHaveLength(5_000);
    expect(lines.at(-1)?.text).toBe("line 5999");
    expect(note).toBe("1000 earlier lines are not shown; kubectl logs has them");
  });

  it("an attempt that never was is unknown", async () => {
    await recorded("default", "a");
    await expect(logs({ attempt: 2 })).rejects.toEqual(refusal("ATTEMPT_UNKNOWN"));
  });
});
