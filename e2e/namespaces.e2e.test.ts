import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { JobView, PodView } from "../libs/contract/observation.ts";
import { command } from "../scripts/cluster/command.ts";
import { MillraceCommand } from "./harness/cli.ts";
import { type DeadLetter, Installation } from "./harness/installation.ts";
import { NOTHING } from "./harness/leftovers.ts";
import { first, rawJob } from "./harness/raw-job.ts";
import { jobsOf, Sight } from "./harness/sight.ts";

const QUEUE = "elsewhere";
/** The queue's own; it stays open. */
const OPEN = "millrace-jobs";
const FULL = "millrace-jobs-b";
const SHAKEN = "millrace-jobs-c";
const SOAK = process.env["SOAK"] === "1";
/** Many times what the quota allows. Settled Jobs count and make room only after a while, so each five take as long as that. */
const MANY = SOAK ? 50 : 20;
/** The Job controller tries to make a refused pod again after 1, 2, 4, 8, … seconds, all of them at once: more would wait for minutes. */
const CROWD = SOAK ? 50 : 15;

/** Ends as a container does that is killed with its pod. Only the first attempt lasts. */
const DIES = first('trap "exit 143" TERM; sleep 600 & wait');

let millrace: Installation;
let cli: MillraceCommand;
let fullJobs: Sight<JobView>;
let shakenJobs: Sight<JobView>;
let shakenPods: Sight<PodView>;

const ids = (name: string, count: number): string[] => Array.from({ length: count }, (_, n) => `${name}-${n}`);
const publish = (id: string, namespace: string, script = "true"): Promise<string> =>
  millrace.publish(`jobs.${QUEUE}.namespaces`, rawJob(id, script, { namespace }));
const count = (id: string, kind: string): number => millrace.eventsOf(id, kind, QUEUE);
const eventOf = (id: string, kind: string) =>
  millrace.events.waitFor(`${kind} of ${id}`, (event) => event.hash === millrace.hash(id, QUEUE) && event.kind === kind);

async function deadLettersOf(wanted: readonly string[]): Promise<DeadLetter[]> {
  return (await millrace.deadLetters()).filter(({ id }) => wanted.includes(id));
}

/** One Job, one attempt, one end. */
async function expectRanOnce(wanted: readonly string[], jobs: Sight<JobView>): Promise<void> {
  for (const id of wanted) {
    expect(await millrace.outcome(id, QUEUE), id).toMatchObject({ state: "succeeded", attempt: 1 });
    expect(
      ["created", "succeeded", "retrying", "dead"].map((kind) => count(id, kind)),
      id,
    ).toEqual([1, 1, 0, 0]);
    expect(jobsOf(jobs.seen, millrace.hash(id, QUEUE)), id).toHaveLength(1);
  }
  expect(await deadLettersOf(wanted)).toEqual([]);
}

/** Held for longer than ack_wait, or one of many, it sleeps in RETRY and says so; what refused it stands in its timeline. */
const WAITS = /^why {7}.*(?:refusing it since |the cluster accepts no Jobs)/m;

/** Held: no attempt, no Job, not in the DLQ; and a person is told why. */
async function expectHeld(wanted: readonly string[], why: RegExp): Promise<void> {
  for (const id of wanted) {
    await eventOf(id, "blocked");
    expect(
      ["created", "retrying", "dead", "succeeded"].map((kind) => count(id, kind)),
      id,
    ).toEqual([0, 0, 0, 0]);
    expect(jobsOf(shakenJobs.seen, millrace.hash(id, QUEUE)), id).toEqual([]);
  }
  expect(await deadLettersOf(wanted)).toEqual([]);
  const said = await cli.ok("get", wanted[0] ?? "", "--queue", QUEUE);
  expect(said).toMatch(WAITS);
  expect(said).toMatch(why);
}

async function setQuota(namespace: string, hard: Readonly<Record<string, string>>): Promise<void> {
  const quota = { apiVersion: "v1", kind: "ResourceQuota", metadata: { name: "e2e", namespace }, spec: { hard } };
  await millrace.kubectl(["create", "-f", "-"], JSON.stringify(quota));
  const [name = ""] = Object.keys(hard);
  // The quota holds from when its controller has counted.
  const counted = `jsonpath={.status.used.${name.replace(".", "\\.")}}`;
  await millrace.kubectl(["-n", namespace, "wait", `--for=${counted}`, "resourcequota/e2e", "--timeout=60s"]);
}

const removeQuota = (namespace: string): Promise<string> =>
  millrace.kubectl(["-n", namespace, "delete", "resourcequota", "e2e", "--ignore-not-found"]);

/** What the chart put into a namespace, ready to be put there again. */
async function rightsIn(namespace: string, ...which: string[]): Promise<string> {
  const found = await millrace.kubectl(["-n", namespace, "get", ...which, "-o", "json"]);
  const list: { items?: unknown[] } = JSON.parse(found);
  const items = (list.items ?? [list]) as { metadata: Record<string, unknown> }[];
  for (const { metadata } of items) {
    for (const field of ["uid", "resourceVersion", "creationTimestamp", "managedFields"]) delete metadata[field];
  }
  return JSON.stringify({ apiVersion: "v1", kind: "List", items });
}

const allowed = async (): Promise<boolean> => {
  const account = `system:serviceaccount:${millrace.names.namespace}:millrace-dispatcher`;
  const answer = await millrace
    .kubectl(["-n", SHAKEN, "auth", "can-i", "create", "jobs.batch", `--as=${account}`])
    // "no" is exit code 1.
    .catch(() => "no");
  return answer.trim() === "yes";
};

/** Whoever upgrades has the Role and RoleBinding of each namespace again. Another suite may have edited the ConfigMap by hand. */
const helmUpgrade = (): Promise<string> =>
  command(join(millrace.cluster.binDir, "helm"), [
    ...["upgrade", millrace.names.release, join(import.meta.dirname, "../charts/millrace"), "-n", millrace.names.namespace],
    ...["--reuse-values", "--force-conflicts", "--wait", "--timeout", "5m", "--kubeconfig", millrace.cluster.kubeconfig],
  ]);

beforeAll(async () => {
  millrace = await Installation.open();
  cli = new MillraceCommand(millrace);
  const place = (namespace: string) => ({ kube: millrace.kube, namespace, instance: millrace.instance });
  [fullJobs, shakenJobs, shakenPods] = await Promise.all([
    Sight.jobs(place(FULL)),
    Sight.jobs(place(SHAKEN)),
    Sight.pods(place(SHAKEN)),
  ]);
  // The other tests run meanwhile.
  await setQuota(FULL, { "count/jobs.batch": "5" });
  await Promise.all(ids("full", MANY).map((id) => publish(id, FULL)));
});

afterAll(async () => {
  await Promise.all([FULL, SHAKEN].map(removeQuota));
  await Promise.all([fullJobs, shakenJobs, shakenPods].map((watch) => watch[Symbol.asyncDispose]()));
  await millrace[Symbol.asyncDispose]();
});

describe("D8: a namespace that is full", () => {
  it("keeps nothing from the queue's other namespaces, and get says that a quota is in the way", async () => {
    await millrace.events.waitFor("a refusal", ({ queue, kind }) => queue === QUEUE && kind === "blocked");
    const open = ids("beside-full", 5);
    await Promise.all(open.map((id) => publish(id, OPEN)));
    for (const id of open) expect(await millrace.outcome(id, QUEUE)).toMatchObject({ state: "succeeded", attempt: 1 });
    const held = ids("full", MANY).filter((id) => count(id, "created") === 0);
    expect(held.length).toBeGreaterThan(0);
    const last = held.at(-1) ?? "";
    await eventOf(last, "blocked");
    const said = await cli.ok("get", last, "--queue", QUEUE);
    expect(said).toMatch(WAITS);
    expect(said).toMatch(/exceeded quota/);
  });

  it("of pods: all Jobs run, as many at once as the quota allows", async () => {
    await setQuota(SHAKEN, { pods: "5" });
    try {
      const crowd = ids("pods", CROWD);
      await Promise.all(crowd.map((id) => publish(id, SHAKEN)));
      await expectRanOnce(crowd, shakenJobs);
      expect(shakenPods.peak).toBeLessThanOrEqual(6);
    } finally {
      await removeQuota(SHAKEN);
    }
  });
});

describe("D8: a namespace that is forbidden", () => {
  it("holds what comes while the dispatcher's RoleBinding is away; other namespaces go on; all run when it is back", async () => {
    const binding = "rolebinding/millrace.millrace-dispatcher-jobs";
    const rights = await rightsIn(SHAKEN, binding);
    const early = ids("while-it-goes", 10);
    await Promise.all([...early.map((id) => publish(id, SHAKEN)), millrace.kubectl(["-n", SHAKEN, "delete", binding])]);
    await expect.poll(allowed, { timeout: 30_000 }).toBe(false);
    const held = ids("while-forbidden", 10);
    const open = ids("beside-forbidden", 5);
    await Promise.all([...held.map((id) => publish(id, SHAKEN)), ...open.map((id) => publish(id, OPEN))]);
    for (const id of open) expect(await millrace.outcome(id, QUEUE)).toMatchObject({ state: "succeeded", attempt: 1 });
    await expectHeld(held, /403 Forbidden/);
    await millrace.kubectl(["apply", "-f", "-"], rights);
    await expectRanOnce([...early, ...held], shakenJobs);
  });
});

describe("a namespace that is deleted", () => {
  /** Three that run there, and three that come too late. */
  async function deleteWhileJobsRun(ran: readonly string[], held: readonly string[]): Promise<void> {
    await millrace.kubectl(["delete", "namespace", SHAKEN, "--wait=false"]);
    await Promise.all(held.map((id) => publish(id, SHAKEN)));
    await millrace.kubectl(["wait", "--for=delete", `namespace/${SHAKEN}`, "--timeout=120s"]);
    for (const id of ran) expect(["succeeded", "cancelled"].map((kind) => count(id, kind))).toEqual([0, 0]);
  }

  async function start(ran: readonly string[]): Promise<void> {
    await Promise.all(ran.map((id) => publish(id, SHAKEN, DIES)));
    await Promise.all(ran.map((id) => eventOf(id, "started")));
  }

  const monitors = (replicas: number): Promise<string> =>
    millrace.kubectl(["-n", millrace.names.namespace, "scale", "deployment/millrace-monitor", `--replicas=${replicas}`]);

  async function expectDeleted(ran: readonly string[]): Promise<void> {
    for (const id of ran) {
      expect(await millrace.outcome(id, QUEUE), id).toMatchObject({ state: "dead", attempts: [{ n: 1, class: "deleted" }] });
      expect(
        ["created", "retrying", "dead"].map((kind) => count(id, kind)),
        id,
      ).toEqual([1, 0, 1]);
      expect(await deadLettersOf([id]), id).toMatchObject([{ class: "deleted" }]);
    }
  }

  it("J5: what ran in it is deleted, once each in the DLQ; what waits is held until an upgrade has made its rights again", async () => {
    const [ran, held] = [ids("gone-ran", 3), ids("gone-held", 3)];
    await start(ran);
    await deleteWhileJobsRun(ran, held);
    await expectHeld(held, / blocked +attempt 1, POST /);
    await expectDeleted(ran);
    await millrace.kubectl(["create", "namespace", SHAKEN]);
    await helmUpgrade();
    await expectRanOnce(held, shakenJobs);
    expect(await deadLettersOf(ran)).toHaveLength(ran.length);
  });

  it("J5: the same while no monitor is there to see it", async () => {
    const [ran, held] = [ids("unseen-ran", 3), ids("unseen-held", 3)];
    const rights = await rightsIn(SHAKEN, "role,rolebinding");
    await start(ran);
    await monitors(0);
    try {
      const pods = ["pods", "-l", "app.kubernetes.io/component=monitor"];
      await millrace.kubectl(["-n", millrace.names.namespace, "wait", "--for=delete", ...pods, "--timeout=120s"]);
      await deleteWhileJobsRun(ran, held);
      expect(await deadLettersOf(ran)).toEqual([]);
    } finally {
      await monitors(2);
    }
    await expectDeleted(ran);
    await expectHeld(held, / blocked +attempt 1, POST /);
    await millrace.kubectl(["create", "namespace", SHAKEN]);
    await millrace.kubectl(["-n", SHAKEN, "apply", "-f", "-"], rights);
    await expectRanOnce(held, shakenJobs);
    expect(await deadLettersOf(ran)).toHaveLength(ran.length);
  });
});

it("D8: a namespace that is full of Jobs runs all of them, no more at once than its quota", async () => {
  await expectRanOnce(ids("full", MANY), fullJobs);
  // Quotas are counted from a cache: Kubernetes itself now and then lets one more in.
  expect(fullJobs.peak).toBeLessThanOrEqual(6);
});

it("leaves nothing behind", async () => {
  await expect.poll(() => millrace.leftovers(), { timeout: 60_000 }).toEqual(NOTHING);
});
