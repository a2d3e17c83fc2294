import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ANNOTATION, LABEL } from "../libs/contract/names.ts";
import type { JobView, PodView } from "../libs/contract/observation.ts";
import { MAIN_CONTAINER } from "../libs/contract/observation.ts";
import type { Explanation, JobRow, QueueRow } from "../libs/contract/requests.ts";
import { ask } from "../libs/streams/request-client.ts";
import { violationsAtRest } from "../services/testing/oracle.ts";
import { MillraceCommand, runProgram } from "./harness/cli.ts";
import { gatherEvidence, JobHistory } from "./harness/evidence.ts";
import { Installation, NOTHING } from "./harness/installation.ts";
import { LiveConfig } from "./harness/live-config.ts";
import { first, LASTING, rawJob, STOPPED } from "./harness/raw-job.ts";
import { jobsOf, Sight } from "./harness/sight.ts";

let millrace: Installation;
let cli: MillraceCommand;
let jobs: Sight<JobView>;
let pods: Sight<PodView>;
let history: JobHistory;
let config: LiveConfig;
const hashes = new Set<string>();

async function publish(queue: string, body: { readonly id: string }): Promise<void> {
  hashes.add(millrace.hash(body.id, queue));
  await millrace.publish(`jobs.${queue}.people`, body);
}

const eventOf = (id: string, kind: string, queue = "default", count = 1) =>
  millrace.events.waitFor(`${kind} of ${id}`, (event) => event.hash === millrace.hash(id, queue) && event.kind === kind, count);

const podOf = (what: string, id: string, queue: string, matches: (pod: PodView, gone: boolean) => boolean): Promise<PodView> =>
  pods.find(`${what} of ${id}`, (pod, gone) => {
    const job = jobs.seen.find(({ uid }) => uid === pod.jobUid);
    return job?.labels[LABEL.job] === millrace.hash(id, queue) && matches(pod, gone);
  });

/** Nothing is left to be done for the id's first Job. */
const settled = (id: string): Promise<JobView> =>
  jobs.find(`the settling of ${id}`, (job, gone) => {
    return job.labels[LABEL.job] === millrace.hash(id) && (gone || job.annotations[ANNOTATION.settled] !== undefined);
  });

/** What `get` says of why it stands where it stands, to people. */
async function why(id: string, ...options: string[]): Promise<Explanation> {
  const text = await cli.ok("get", id, ...options);
  const said = (label: string): string => new RegExp(`^${label} +(.*)$`, "m").exec(text)?.[1] ?? text;
  return { why: said("why"), todo: said("to do") };
}

beforeAll(async () => {
  millrace = await Installation.open();
  cli = new MillraceCommand(millrace);
  const place = { kube: millrace.kube, namespace: millrace.names.jobsNamespace, instance: millrace.instance };
  [jobs, pods, history] = await Promise.all([Sight.jobs(place), Sight.pods(place), JobHistory.open(place)]);
  config = await LiveConfig.open(millrace);
  await config.change(({ queues, ...rest }) => ({
    ...rest,
    queues: { ...queues, "people-sleepy": { policy: { raw: true }, retry: { backoff: { initial: "1h" } } } },
  }));
  await Promise.all([
    ...[1, 2, 3, 4].map((n) => publish("small", rawJob(`people-hold-${n}`, first(LASTING)))),
    publish("people-sleepy", rawJob("people-sleeps", "exit 7")),
    publish("default", rawJob("people-unschedulable", "true", { nodeSelector: { matchKey: "no-such", matchValue: "node" } })),
    publish("default", rawJob("people-image", "true", { image: "localhost/people-nowhere:1" })),
    publish("default", rawJob("people-ok", "echo well done")),
    publish("default", rawJob("people-dead", first("echo first line; echo last line; exit 64"))),
    publish("default", rawJob("people-talks", "for n in 1 2 3 4 5; do echo line $n; sleep 1; done")),
    publish("default", rawJob("people-twice", "true")),
    publish("four", rawJob("people-twice", "true")),
  ]);
});

afterAll(async () => {
  await config.restore();
  await Promise.all([jobs, pods, history].map((watch) => watch[Symbol.asyncDispose]()));
  await millrace[Symbol.asyncDispose]();
});

describe("a job that waits for a slot", () => {
  beforeAll(async () => {
    await Promise.all([1, 2, 3, 4].map((n) => eventOf(`people-hold-${n}`, "started", "small")));
    await publish("small", rawJob("people-waits-1", "true"));
    await publish("small", rawJob("people-waits-2", "true"));
  });

  it("get says which slots are in use, by whom, and what to do", async () => {
    const { why: reason, todo } = await why("people-waits-2");
    expect(reason).toMatch(/^all 4 slots of queue small are in use, the longest by people-hold-\d \(/);
    expect(todo).toMatch(/millrace cancel ID\), or raise queues\.small\.slots$/);
    expect(await cli.ok("get", "people-waits-2")).toMatch(/^state {5}waiting$/m);
  });

  it("P1: cancel wants its queue named, for nothing is recorded of it yet; then it never starts", async () => {
    const unnamed = await cli.run("cancel", "people-waits-1");
    expect(unnamed.code).toBe(1);
    expect(unnamed.stderr).toMatch(/^QUEUE_REQUIRED: .*--queue, one of: .*small/);
    expect(await cli.ok("cancel", "people-waits-1", "--queue", "small")).toBe("people-waits-1  cancelled");
    expect(await cli.ok("cancel", "people-waits-1")).toBe("people-waits-1  cancelled before");
  });
});

describe("a job that runs", () => {
  it("P1, J2: cancel ends its pod by TERM, removes its Job and frees its slot for the next in line", async () => {
    const id = "people-hold-1";
    expect(await cli.ok("cancel", id)).toMatch(/^people-hold-1 {2}cancelling/);
    await eventOf(id, "cancelled", "small");
    const pod = await podOf("the end", id, "small", (_pod, gone) => gone);
    expect(pod.containers.find(({ name }) => name === MAIN_CONTAINER)?.terminated?.exitCode).toBe(STOPPED);
    const hash = millrace.hash(id, "small");
    await jobs.find(`the removal of ${id}`, (job, gone) => gone && job.labels[LABEL.job] === hash);
    expect(jobsOf(jobs.seen, hash)).toHaveLength(1);
    expect(await cli.json("get", id)).toMatchObject({
      state: "cancelled",
      attempt: 1,
      reason: expect.stringMatching(/^cancelled by \S+@/),
    });
    expect((await millrace.outcome("people-waits-2", "small")).state).toBe("succeeded");
  });

  it("cancel twice is cancel once", async () => {
    const id = "people-hold-1";
    expect(await cli.ok("cancel", id)).toBe("people-hold-1  cancelled before");
    expect(["cancelled", "dead", "succeeded"].map((kind) => millrace.eventsOf(id, kind, "small"))).toEqual([1, 0, 0]);
  });

  it("P1: a job that was cancelled before it started has no Job, one event, and its message is gone", async () => {
    const id = "people-waits-1";
    await eventOf(id, "cancelled", "small");
    expect(jobsOf(jobs.seen, millrace.hash(id, "small"))).toEqual([]);
    expect(millrace.eventsOf(id, "created", "small")).toBe(0);
  });

  it("get says that there is nothing to do, with its pod's start in the timeline", async () => {
    const report = await cli.json<{ readonly explanations: unknown; readonly timeline: { readonly kind: string }[] }>(
      "get",
      "people-hold-2",
    );
    expect(report).toMatchObject({ state: "running", explanations: [] });
    expect(report.timeline.map(({ kind }) => kind)).toEqual(["created", "started"]);
  });
});

describe("a job that does not start", () => {
  it("get says why, for a pod that no node takes and for an image that cannot be pulled", async () => {
    await podOf("the refusal", "people-unschedulable", "default", ({ unschedulable }) => unschedulable !== undefined);
    expect(await why("people-unschedulable")).toMatchObject({
      why: expect.stringMatching(/^unschedulable since .*node/),
      todo: expect.stringContaining("nodeSelector"),
    });
    await podOf("the refusal", "people-image", "default", ({ containers }) =>
      containers.some(({ waiting }) => /^(?:ErrImagePull|ImagePullBackOff)$/.test(waiting?.reason ?? "")),
    );
    expect(await why("people-image")).toMatchObject({
      why: expect.stringMatching(/^the image of container main cannot be pulled: .*people-nowhere/),
      todo: expect.stringContaining("imagePullSecrets"),
    });
  });

  it("P1: cancel takes it away", async () => {
    for (const id of ["people-unschedulable", "people-image"]) {
      expect(await cli.ok("cancel", id)).toMatch(/cancelling/);
    }
    for (const id of ["people-unschedulable", "people-image"]) {
      await eventOf(id, "cancelled");
      const hash = millrace.hash(id);
      await jobs.find(`the removal of ${id}`, (job, gone) => gone && job.labels[LABEL.job] === hash);
      expect(["started", "dead", "succeeded"].map((kind) => millrace.eventsOf(id, kind))).toEqual([0, 0, 0]);
    }
  });
});

describe("a job that sleeps until its next attempt", () => {
  const id = "people-sleeps";
  const queue = "people-sleepy";

  it("get says until when and after what, and queues counts it", async () => {
    await eventOf(id, "retrying", queue);
    expect(await why(id)).toEqual({
      why: expect.stringMatching(/^attempt 2 sleeps until \S+Z \(\d+\w* from now\) after exit: /),
      todo: `nothing: it wakes by itself. To give up: millrace cancel ${id}`,
    });
    const rows = await cli.json<QueueRow[]>("queues");
    expect(rows.find((row) => row.queue === queue)).toMatchObject({ sleeping: 1, running: 0, waiting: 0 });
  });

  it("P1: cancel ends it and takes its message out of RETRY", async () => {
    expect(await cli.ok("cancel", id)).toBe(`${id}  cancelled`);
    await eventOf(id, "cancelled", queue);
    const rows = await cli.json<QueueRow[]>("queues");
    expect(rows.find((row) => row.queue === queue)).toMatchObject({ sleeping: 0 });
    expect(millrace.eventsOf(id, "created", queue)).toBe(1);
  });
});

it("P1: a job whose container has succeeded when it is cancelled has succeeded, with one terminal event", async () => {
  const ids = Array.from({ length: 8 }, (_, n) => `people-photo-${n}`);
  await Promise.all(ids.map((id) => publish("default", rawJob(id, "sleep 1"))));
  await Promise.all(
    ids.map(async (id) => {
      await podOf("success", id, "default", ({ containers }) => containers[0]?.terminated?.exitCode === 0);
      // It may have been settled already: then the answer is that it is too late. A command would always come too late.
      await ask(millrace.connection, "cancel", { id, queue: "default" }).catch(() => undefined);
    }),
  );
  for (const id of ids) {
    await eventOf(id, "succeeded");
    expect((await millrace.record(id))?.state).toBe("succeeded");
  }
  // An event too many would come before its Job's ttl, the last step of settling.
  await Promise.all(ids.map((id) => settled(id)));
  for (const id of ids) {
    expect(["succeeded", "cancelled", "dead", "retrying"].map((kind) => millrace.eventsOf(id, kind))).toEqual([1, 0, 0, 0]);
  }
});

describe("rerun", () => {
  beforeAll(async () => {
    await Promise.all([eventOf("people-ok", "succeeded"), eventOf("people-dead", "dead")]);
  });

  it.each([
    ["succeeded", "people-ok", "default", 2],
    ["dead", "people-dead", "default", 2],
    ["cancelled", "people-hold-1", "small", 2],
  ])("P3: of a %s job is another life with the next attempt, which ends once", async (state, id, queue, attempt) => {
    expect((await millrace.record(id, queue))?.state).toBe(state);
    expect(await cli.ok("rerun", id)).toBe(`${id}  scheduled as attempt ${attempt}`);
    await millrace.events.waitFor(
      `the second end of ${id}`,
      (event) => event.hash === millrace.hash(id, queue) && event.kind === "succeeded" && event.attempt === attempt,
    );
    expect(await cli.json("get", id)).toMatchObject({ state: "succeeded", attempt, life: 2 });
    const ends = millrace.events.events.filter(
      (event) => event.hash === millrace.hash(id, queue) && ["succeeded", "dead", "cancelled"].includes(event.kind),
    );
    expect(ends.map(({ kind, data }) => [kind, data["life"]])).toEqual([
      [state, 1],
      ["succeeded", 2],
    ]);
    const again = await cli.run("rerun", "people-hold-2");
    expect([again.code, again.stderr]).toEqual([1, expect.stringMatching(/^NOT_ALLOWED_NOW: people-hold-2 cannot be run again/)]);
  });
});

describe("ls", () => {
  const list = async (...filters: string[]): Promise<JobRow[]> =>
    (await cli.json<{ readonly jobs: JobRow[] }>("ls", "--limit", "1000", ...filters)).jobs;
  const mine = (rows: readonly JobRow[]): string[] => rows.map(({ id }) => id).filter((id) => id.startsWith("people-"));

  it("by queue", async () => {
    const rows = await list("--queue", "small");
    expect(mine(rows)).toEqual(expect.arrayContaining(["people-hold-1", "people-hold-2", "people-waits-1", "people-waits-2"]));
    expect(new Set(rows.map(({ queue }) => queue))).toEqual(new Set(["small"]));
  });

  it("by state", async () => {
    const rows = await list("--state", "running");
    expect(mine(rows).sort()).toEqual(expect.arrayContaining(["people-hold-2", "people-hold-3", "people-hold-4"]));
    expect(new Set(rows.map(({ state }) => state))).toEqual(new Set(["running"]));
  });

  it("by class of the last failure, together with a state", async () => {
    const rows = await list("--class", "cancelled", "--state", "cancelled");
    expect(mine(rows)).toEqual(expect.arrayContaining(["people-image", "people-unschedulable"]));
    expect(new Set(rows.map(({ state, class: of }) => `${state} ${of}`))).toEqual(new Set(["cancelled cancelled"]));
  });

  it("by time of the last change, and at most so many, the latest first", async () => {
    const changed = (await millrace.record("people-dead"))?.updatedAt ?? "";
    const rows = await list("--since", changed);
    expect(mine(rows)).toContain("people-dead");
    expect(rows.every(({ updatedAt }) => updatedAt >= changed)).toBe(true);
    expect(rows.map(({ updatedAt }) => updatedAt)).toEqual(
      rows
        .map(({ updatedAt }) => updatedAt)
        .sort()
        .reverse(),
    );
    const few = await cli.run("ls", "--queue", "small", "--limit", "2");
    expect(few.stdout.trim().split("\n")).toHaveLength(3);
    expect(few.stdout).toMatch(/^ID +QUEUE +STATE +ATTEMPT +CLASS +AGE +REASON/);
    expect(few.stderr).toContain("there are more");
  });
});

describe("logs", () => {
  it("of an attempt that is dead, after a later one and after its pod is gone", async () => {
    const job = jobsOf(jobs.seen, millrace.hash("people-dead")).find(({ labels }) => labels[LABEL.attempt] === "1");
    await millrace.kubectl(["-n", "millrace-jobs", "delete", "job", job?.name ?? "", "--wait=true", "--cascade=foreground"]);
    expect(await cli.ok("logs", "people-dead", "--attempt", "1")).toBe("first line\nlast line");
    const third = await cli.run("logs", "people-dead", "--attempt", "3");
    expect([third.code, third.stderr]).toEqual([1, expect.stringMatching(/^ATTEMPT_UNKNOWN: /)]);
  });

  it("-f of one that runs ends with it, and has every line once", async () => {
    await publish("default", rawJob("people-follow", "for n in 1 2 3; do echo line $n; sleep 1; done; echo over"));
    expect(await cli.ok("logs", "people-follow", "--follow", "--queue", "default")).toBe("line 1\nline 2\nline 3\nover");
    await eventOf("people-follow", "succeeded");
  });
});

describe("queues", () => {
  it("P4: pause hands out nothing, says so everywhere, and resume goes on", async () => {
    const paused = await cli.ok("queues", "pause", "four", "--for", "10m", "--reason", "people look");
    expect(paused).toMatch(/^four {2}paused until \S+Z by \S+@\S+: people look$/);
    await publish("four", rawJob("people-paused", "true"));
    expect(await why("people-paused")).toEqual({
      why: expect.stringMatching(/^queue four is paused until .*: people look$/),
      todo: "millrace queues resume four",
    });
    expect(await cli.ok("queues")).toMatch(/^four .*until .*people look$/m);
    expect(jobsOf(jobs.seen, millrace.hash("people-paused", "four"))).toEqual([]);
    expect(await cli.ok("queues", "resume", "four")).toBe("four  resumed");
    expect(await cli.ok("queues", "resume", "four")).toBe("four  was not paused");
    expect((await millrace.outcome("people-paused", "four")).state).toBe("succeeded");
  });

  it("P4: a pause for a while ends by itself", async () => {
    const { paused } = await cli.json<{ readonly paused: { readonly until: string } }>(
      "queues",
      "pause",
      "four",
      "--for",
      "10s",
      "--reason",
      "x",
    );
    await publish("four", rawJob("people-short-pause", "true"));
    await millrace.outcome("people-short-pause", "four");
    const [created] = await eventOf("people-short-pause", "created", "four");
    const job = jobsOf(jobs.seen, created?.hash ?? "")[0];
    // Kubernetes writes whole seconds.
    expect(Date.parse(job?.createdAt ?? "")).toBeGreaterThan(Date.parse(paused.until) - 1000);
  });
});

it("D8: get says what refuses a job that the cluster does not take", async () => {
  const quota = {
    apiVersion: "v1",
    kind: "ResourceQuota",
    metadata: { name: "none" },
    spec: { hard: { "count/jobs.batch": "0" } },
  };
  const there = ["-n", "millrace-jobs-b"];
  await millrace.kubectl([...there, "create", "-f", "-"], JSON.stringify(quota));
  try {
    await expect
      .poll(() => millrace.kubectl([...there, "get", "resourcequota", "none", "-o", "jsonpath={.status.hard}"]))
      .toContain("count/jobs.batch");
    await publish("elsewhere", rawJob("people-blocked", "true", { namespace: "millrace-jobs-b" }));
    await eventOf("people-blocked", "blocked", "elsewhere");
    expect(await why("people-blocked")).toEqual({
      why: expect.stringMatching(/^the cluster has been refusing it since \S+Z: .*quota/),
      todo: expect.stringContaining("it is tried again by itself"),
    });
  } finally {
    await millrace.kubectl([...there, "delete", "resourcequota", "none"]);
  }
  expect(await millrace.outcome("people-blocked", "elsewhere")).toMatchObject({ state: "succeeded", attempt: 1 });
});

describe("what cannot be done is said in a line, with an exit code", () => {
  it.each([
    [["get", "people-nobody"], 1, /^ID_UNKNOWN: no job people-nobody is recorded: it was never published/],
    [["logs", "people-nobody"], 1, /^ID_UNKNOWN: no job people-nobody is recorded/],
    [["rerun", "people-nobody"], 1, /^ID_UNKNOWN: .*publish it again instead/],
    [["get", "people-nobody", "--queue", "nowhere"], 1, /^QUEUE_UNKNOWN: no queue nowhere is configured; there are: /],
    [["queues", "pause", "nowhere"], 1, /^QUEUE_UNKNOWN: /],
    [["get", "people-twice"], 1, /^ID_AMBIGUOUS: people-twice is a job on several queues: default, four; name one with --queue/],
    [["cancel", "people-twice"], 1, /^ID_AMBIGUOUS: /],
    [["rerun", "people-twice"], 1, /^ID_AMBIGUOUS: /],
    [["logs", "people-twice"], 1, /^ID_AMBIGUOUS: /],
    [["cancel", "people-ok"], 1, /^NOT_ALLOWED_NOW: people-ok cannot be cancelled: /],
    [["get"], 2, /missing required argument/],
    [["ls", "--state", "asleep"], 2, /Allowed choices are/],
    [["queues", "pause", "four", "--for", "soon"], 2, /duration/],
  ])("%j", async (args, code, says) => {
    await Promise.all([millrace.outcome("people-twice"), millrace.outcome("people-twice", "four")]);
    const printed = await cli.run(...args);
    expect([printed.code, printed.stderr, printed.stdout]).toEqual([code, expect.stringMatching(says), ""]);
  });

  it("an installation that cannot be reached is exit code 3", async () => {
    const nowhere = await runProgram(["get", "people-ok", "--server", "nats://127.0.0.1:1"], {});
    expect([nowhere.code, nowhere.stderr]).toEqual([3, expect.stringMatching(/^NATS_UNREACHABLE: /)]);
  });

  it("a queue that is named settles whose the id is", async () => {
    expect(await cli.json("get", "people-twice", "--queue", "four")).toMatchObject({ queue: "four", state: "succeeded" });
  });

  it("through the kube context, as people have it", async () => {
    const args = ["get", "people-ok", "--kubeconfig", millrace.cluster.kubeconfig, "--context", millrace.cluster.context];
    expect((await runProgram(args, {})).stdout).toMatch(/^state {5}succeeded$/m);
  });
});

it("every life ends once, and nothing is left", async () => {
  for (const id of ["people-hold-2", "people-hold-3", "people-hold-4"]) await cli.ok("cancel", id);
  await Promise.all(["people-hold-2", "people-hold-3", "people-hold-4"].map((id) => eventOf(id, "cancelled", "small")));
  await millrace.outcome("people-talks");
  await expect.poll(() => millrace.leftovers(), { timeout: 60_000 }).toEqual(NOTHING);
  const { connection, instance } = millrace;
  expect(violationsAtRest(await gatherEvidence({ connection, instance, history, hashes }))).toEqual([]);
  expect(millrace.events.events.filter(({ kind, queue }) => kind === "rejected" && queue === "people-sleepy")).toEqual([]);
});
