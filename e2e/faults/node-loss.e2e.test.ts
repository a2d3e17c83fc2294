import type { V1PodList } from "@kubernetes/client-node";
import { afterAll, beforeAll, expect, it } from "vitest";
import { LABEL } from "../../libs/contract/names.ts";
import type { TailedEvent } from "../harness/event-tail.ts";
import { FaultLoad, REST_MS } from "../harness/fault-load.ts";
import { FaultReport, tally } from "../harness/fault-report.ts";
import { Installation } from "../harness/installation.ts";
import { Jobs } from "../harness/jobs.ts";
import { SMALL, TestRelease } from "../harness/release.ts";
import { HERE, SecondNode } from "../harness/second-node.ts";
import { leader } from "../harness/service-processes.ts";
import { DOWNLOADER, Images, type Verdict } from "../workers/images.ts";
import { WorkersRelease } from "../workers/workers-release.ts";

/** A failure that counts would be the end of the job. */
const ONLY_ATTEMPT = { backoffLimit: 0, nodeSelector: HERE } as const;
const NODE0 = { matchKey: "kubernetes.io/hostname", matchValue: "node0" } as const;
const ELSEWHERE = '[ "$MILLRACE_ATTEMPT" = 1 ] || exit 0';
/** Ends well while nobody hears of its node: for so long a node must be cut off after its job's start was heard of. */
const SHORT = `${ELSEWHERE}; sleep 15`;
const LASTING = `${ELSEWHERE}; sleep 600`;

const FAST = { done: "loss-done", runs: "loss-runs-0", runsToo: "loss-runs-1" } as const;
const SAFE = { done: "loss-safe-done", runs: "loss-safe-runs", forced: "loss-safe-forced" } as const;
/** Of a release whose NATS is on the lost node, and whose jobs are not; four run at once, and still do when the node is lost. */
const WAITING = Array.from({ length: 8 }, (_, index) => `loss-nats-${index}`);

const names = { release: "lost", namespace: "lost", jobsNamespace: "lost" } as const;
/** Of a release whose workers are on the lost node, while all that they need is not. */
const withWorkers = { release: "astray", namespace: "astray", jobsNamespace: "astray" } as const;
const IMAGES = process.env["SOAK"] === "1" ? 200 : 8;
const BEGUN = 2;

let millrace: Installation;
let jobs: Jobs;
let node: SecondNode;
let other: TestRelease;
let workers: WorkersRelease;
let discardWorkers: () => Promise<void>;
let images: Images;
let batch: Awaited<ReturnType<Images["publish"]>>;
let pictures: Promise<Verdict>;
let givenUpMs: number;
/** The same moment, of `performance.now()`. */
let givenUpAtMs: number;

beforeAll(async () => {
  millrace = await Installation.open();
  // Before there is a second node that its own pods could be on.
  await WorkersRelease.installKeda();
  jobs = await Jobs.open(millrace, "loss");
  other = new TestRelease({ cluster: millrace.cluster, names });
  [node] = await Promise.all([SecondNode.join(millrace), other.createNamespaces()]);
  await node.here("node1");
  const workersOnNode1 = async (): Promise<void> => {
    const nodeSelector = { [HERE.matchKey]: HERE.matchValue };
    discardWorkers = await WorkersRelease.install({ names: withWorkers, workers: { nodeSelector } });
    workers = await WorkersRelease.open(withWorkers);
    images = await Images.open(workers);
  };
  await Promise.all([node.lead(), other.upgrade(onNode1()), workersOnNode1()]);
}, 900_000);

afterAll(async () => {
  await jobs[Symbol.asyncDispose]();
  await workers[Symbol.asyncDispose]();
  await Promise.all([other.discard(), discardWorkers()]);
  await node[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
}, 900_000);

/** NATS on node1, all else on node0; nothing minds that a node is cordoned meanwhile. */
function onNode1(): Readonly<Record<string, unknown>> {
  const on = (service: string, name: string) => ({
    [`${service}.nodeSelector`]: { "kubernetes.io/hostname": name },
    [`${service}.tolerations`]: [{ operator: "Exists" }],
  });
  return {
    "nats.storage.storageClassName": node.volume.name,
    ...SMALL,
    ...on("nats", "node1"),
    ...on("monitor", "node0"),
    ...on("dispatcher", "node0"),
  };
}

const eventOf = async (id: string, kind: string, queue = "default"): Promise<TailedEvent> => {
  const hash = millrace.hash(id, queue);
  const [event] = await millrace.events.waitFor(`${kind} of ${id}`, (each) => each.hash === hash && each.kind === kind);
  if (event === undefined) throw new Error(`no ${kind} of ${id}`);
  return event;
};

async function podsOf(id: string, attempt: number, queue = "default") {
  const labelSelector = `${LABEL.job}=${millrace.hash(id, queue)},${LABEL.attempt}=${attempt}`;
  const path = `/api/v1/namespaces/${millrace.names.jobsNamespace}/pods`;
  return (await millrace.kube.json<V1PodList>({ method: "GET", path, query: { labelSelector } })).items;
}

/** On the node that will be lost: all runs when this resolves, and what ends soon was begun last. */
async function occupyNode(): Promise<void> {
  for (const id of [FAST.runs, FAST.runsToo]) await jobs.run(id, LASTING, ONLY_ATTEMPT);
  for (const id of [SAFE.runs, SAFE.forced]) await jobs.run(id, LASTING, ONLY_ATTEMPT, "safe");
  await Promise.all([FAST.runs, FAST.runsToo].map((id) => millrace.started(id)));
  await Promise.all([SAFE.runs, SAFE.forced].map((id) => millrace.started(id, 1, "safe")));
  {
    await using there = await Installation.open(names);
    await using itsJobs = await Jobs.open(there, "loss");
    batch = await images.publish("lost", IMAGES, "held");
    await images.fetched(batch.paths, BEGUN);
    for (const id of WAITING) await itsJobs.run(id, "sleep 15", { namespace: names.jobsNamespace, nodeSelector: NODE0 }, "small");
    await there.events.waitFor("starts", ({ kind }) => kind === "started", 4);
  }
  await jobs.run(FAST.done, SHORT, ONLY_ATTEMPT);
  await jobs.run(SAFE.done, SHORT, ONLY_ATTEMPT, "safe");
  await Promise.all([millrace.started(FAST.done), millrace.started(SAFE.done, 1, "safe")]);
}

it("J4, I2: a node is lost with jobs, a dispatcher, the leading monitor and another release's NATS on it", async () => {
  const onIt = await node.pods();
  expect(onIt).toEqual([expect.stringContaining("dispatcher"), expect.stringContaining("monitor")]);
  expect(onIt).toContain(await leader(millrace));
  await occupyNode();
  expect(workers.pods.of(DOWNLOADER).map((pod) => pod.node)).toContain("node1");

  const inTheDark = [...(await podsOf(FAST.done, 1)), ...(await podsOf(SAFE.done, 1, "safe"))];
  const darkMs = Date.now();
  await node.goDark();
  await expect.poll(() => node.haveEnded(inTheDark), { timeout: 60_000 }).toBe(true);
  await node.losePower();
  // Nobody is left whose download it could end; to whoever asks from here on it is answered at once.
  await workers.witness.openGate(batch.gate);
  pictures = images.verdict(batch);
  // It is told where it is awaited.
  pictures.catch(() => {});
  givenUpMs = (await node.givenUp()).getTime();
  givenUpAtMs = performance.now();
  await node.here("node0");

  const recordedMs: number[] = [];
  for (const id of Object.values(FAST)) {
    const retry = await eventOf(id, "retrying");
    expect(retry.data).toMatchObject({ attempt: 1, class: "nodeLost", next: { attempt: 2 } });
    recordedMs.push(retry.storedAtMs - givenUpMs);
    // The dead kubelet has not answered: for all that the API server knows the pod still runs.
    expect(await podsOf(id, 1)).toEqual([expect.objectContaining({ status: expect.objectContaining({ phase: "Running" }) })]);
    await jobs.end(id, ["nodeLost", "succeeded"], 1);
    expect((await millrace.record(id))?.attempts.map(({ node: name }) => name)).toEqual(["node1", "node0"]);
  }
  expect(onIt).not.toContain(await leader(millrace));

  // safe: nothing has happened meanwhile, and does when the pod is gone.
  for (const id of Object.values(SAFE)) {
    expect(await millrace.record(id, "safe")).toMatchObject({ state: "running", attempt: 1 });
    expect(millrace.eventsOf(id, "retrying", "safe")).toBe(0);
  }
  const [forced] = await podsOf(SAFE.forced, 1, "safe");
  const namespace = millrace.names.jobsNamespace;
  await millrace.kubectl(["-n", namespace, "delete", "pod", forced?.metadata?.name ?? "", "--force", "--grace-period=0"]);
  await jobs.end(SAFE.forced, ["lost", "succeeded"], 1);

  await node.comeBack();
  // What ended well in the dark counts where it was waited for, and only there.
  await jobs.end(SAFE.done, ["succeeded"]);
  await jobs.end(SAFE.runs, ["lost", "succeeded"], 1);
  for (const id of Object.values(FAST)) {
    await expect.poll(() => podsOf(id, 1), { timeout: REST_MS }).toEqual([]);
    await jobs.end(id, ["nodeLost", "succeeded"], 1);
  }
  await FaultLoad.expectNothingLeft(millrace);
  const healMs = Math.max(...recordedMs);
  const violations = await jobs.violations();
  FaultReport.row({
    fault: "node: lost",
    what: "a node with jobs, a dispatcher and the leading monitor was cut off and lost its power; `nodeLoss: fast`, from its unreachable taint to the recorded retries",
    jobs: Object.keys(FAST).length + Object.keys(SAFE).length,
    healMs,
    ...tally(violations),
  });
  expect(violations).toEqual([]);
  // 5 s by J4, told by what else took its time in the same run: until the cluster gave the node up, and until what is `safe` could be recorded.
  const safeMs = (await eventOf(SAFE.runs, "retrying", "safe")).storedAtMs - givenUpMs;
  expect(2 * healMs).toBeLessThan(givenUpMs - darkMs);
  expect(5 * healMs).toBeLessThan(safeMs);
}, 900_000);

it("W1: the images whose workers were on it are all there, each once", async () => {
  const { lost, doubled, problems, settledAtMs } = await pictures;
  FaultReport.row({
    fault: "workers: node lost",
    what: "a node with busy workers was cut off and lost its power; from its unreachable taint until every image was there",
    jobs: IMAGES,
    lost,
    doubled,
    healMs: settledAtMs === null ? null : Math.max(0, Math.round(settledAtMs - givenUpAtMs)),
  });
  expect(problems).toEqual([]);
  expect(images.refetched(batch.paths)).toBeGreaterThanOrEqual(BEGUN);
  // The node is back, and whatever it still had to say of them.
  await images.allSettled();
});

it("the release whose NATS was on it waited, and lost nothing", async () => {
  await using there = await Installation.open(names);
  for (const id of WAITING) await there.outcome(id, "small");
  await FaultLoad.expectNothingLeft(there);
  const succeeded = await there.events.waitFor("the ends", ({ kind }) => kind === "succeeded", WAITING.length);
  // Its NATS took nothing while it was away.
  expect(succeeded.filter(({ storedAtMs }) => storedAtMs > givenUpMs)).not.toEqual([]);
  const records = await Promise.all(WAITING.map((id) => there.record(id, "small")));
  expect(records.map((record) => record?.attempts)).toEqual(
    WAITING.map(() => [expect.objectContaining({ outcome: "succeeded" })]),
  );
  expect(WAITING.map((id) => there.eventsOf(id, "succeeded", "small"))).toEqual(WAITING.map(() => 1));
});
