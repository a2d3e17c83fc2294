import type { V1NodeList, V1PodList } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LABEL } from "../../libs/contract/names.ts";
import { podEnded } from "../../libs/contract/observation.ts";
import { parseQuantity } from "../../libs/contract/units.ts";
import { podView } from "../../libs/kube/views.ts";
import type { TailedEvent } from "../harness/event-tail.ts";
import { FaultLoad } from "../harness/fault-load.ts";
import { Installation } from "../harness/installation.ts";
import { Jobs } from "../harness/jobs.ts";

/** A first process ignores TERM unless it says otherwise, and would hold its pod for the whole grace period. */
const ENDLESS = "trap 'exit 143' TERM; sleep 600 & wait";
/** What it exits with, and some seconds after it was told to, is not held against it. */
const SLOW_END = `[ "$MILLRACE_ATTEMPT" -gt 1 ] && exit 0; trap 'sleep 3; exit 1' TERM; sleep 600 & wait`;
const SECOND_TIME = `[ "$MILLRACE_ATTEMPT" -gt 1 ] && exit 0; ${ENDLESS}`;
/** Whatever is counted would be the end of the job. */
const ONLY_ATTEMPT = { backoffLimit: 0 } as const;
const IMPORTANT = "e2e-important";

let millrace: Installation;
let jobs: Jobs;

const loads = new Map<string, FaultLoad>();

/** All at once: each then waits for what is done to it, and for its retry. */
beforeAll(async () => {
  millrace = await Installation.open();
  jobs = await Jobs.open(millrace, "dis");
  const cpu = String((await cpuShares()).job);
  const run = async (id: string, script: string, job: object = {}): Promise<void> => {
    loads.set(id, await FaultLoad.publish({ millrace, jobs, messages: [jobs.message(id, script, job)] }));
  };
  await Promise.all([
    run("dis-pod", SLOW_END, ONLY_ATTEMPT),
    run("dis-suspend", SLOW_END, ONLY_ATTEMPT),
    run("dis-evict", SECOND_TIME, ONLY_ATTEMPT),
    run("dis-preempt", SECOND_TIME, { ...ONLY_ATTEMPT, resources: { requests: { cpu, memory: "4Mi" } } }),
    run("dis-job", ENDLESS),
    run("dis-orphan", ENDLESS),
  ]);
});
afterAll(async () => {
  await millrace.kubectl(["delete", "pod,priorityclass", IMPORTANT, "-n", "default", "--ignore-not-found", "--wait=false"]);
  await jobs[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
});

interface Running {
  readonly pod: string;
  readonly job: string;
}

async function running(id: string): Promise<Running> {
  const { data } = await millrace.started(id);
  const { pod, job } = data as { pod: { name: string }; job: { name: string } };
  return { pod: pod.name, job: job.name };
}

/** What befalls a job, and from when on it has to heal. */
async function befall(id: string, deed: () => Promise<unknown>): Promise<void> {
  loadOf(id).healing();
  await deed();
}

function row(id: string, about: { readonly fault: string; readonly what: string; readonly state?: string }): Promise<void> {
  return loadOf(id).expectEachOnce(about);
}

function loadOf(id: string): FaultLoad {
  const load = loads.get(id);
  if (load === undefined) throw new Error(`${id} was not published`);
  return load;
}

const inJobs = (...args: readonly string[]): Promise<string> => millrace.kubectl(["-n", millrace.names.jobsNamespace, ...args]);

function retryOf(id: string): Promise<TailedEvent[]> {
  const hash = millrace.hash(id);
  return millrace.events.waitFor(`the retry of ${id}`, (event) => event.hash === hash && event.kind === "retrying");
}

/** CPUs for a job and for a pod that does not fit beside it, but does beside everything else; the policy's ceiling bounds the job. */
async function cpuShares(): Promise<{ job: number; pod: number }> {
  const nodes = await millrace.kube.json<V1NodeList>({ method: "GET", path: "/api/v1/nodes" });
  const cpus = parseQuantity(nodes.items[0]?.status?.allocatable?.["cpu"] ?? "") ?? 0;
  const job = Math.min(cpus / 2, 4);
  return { job, pod: cpus - job };
}

describe.concurrent("nobody's fault: the only attempt is not counted, and the next one succeeds", () => {
  it("lost: somebody deletes the pod", async () => {
    const { pod } = await running("dis-pod");
    await befall("dis-pod", () => inJobs("delete", "pod", pod));
    await jobs.end("dis-pod", ["lost", "succeeded"], 1);
    await row("dis-pod", {
      fault: "pod: deleted",
      what: "somebody deleted the pod; the job was tried again, and what had been lost did not count as an attempt",
    });
  });

  it("J3, evicted: somebody suspends the Job, which is removed", async () => {
    const { job } = await running("dis-suspend");
    await befall("dis-suspend", () => inJobs("patch", "job", job, "--patch", '{"spec":{"suspend":true}}'));
    const { record } = await jobs.end("dis-suspend", ["evicted", "succeeded"], 1);
    expect(record.attempts[0]?.reason).toBe("its Job was suspended");
    const attempts = (await millrace.jobs("dis-suspend")).map(({ metadata }) => metadata?.labels?.[LABEL.attempt]);
    expect(attempts).toEqual(["2"]);
    await row("dis-suspend", {
      fault: "Job: suspended",
      what: "somebody suspended the Job; it was removed and the job tried again, and what had been stopped did not count as an attempt",
    });
  });

  it("evicted: through the eviction API, as when a node is drained", async () => {
    const { pod } = await running("dis-evict");
    const namespace = millrace.names.jobsNamespace;
    const body = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name: pod, namespace } };
    const path = `/api/v1/namespaces/${namespace}/pods/${pod}/eviction`;
    await befall("dis-evict", () => millrace.kube.json<unknown>({ method: "POST", path, body }));
    const { record } = await jobs.end("dis-evict", ["evicted", "succeeded"], 1);
    expect(record.attempts[0]?.reason).toContain("EvictionByEvictionAPI");
    await row("dis-evict", {
      fault: "pod: evicted",
      what: "through the eviction API, as when a node is drained; the job was tried again, and what had been evicted did not count as an attempt",
    });
  });

  it("preempted: its node is given to a pod of higher priority; it waits until that has gone", async () => {
    await running("dis-preempt");
    const priority = { apiVersion: "scheduling.k8s.io/v1", kind: "PriorityClass", metadata: { name: IMPORTANT }, value: 1000 };
    await millrace.kubectl(["apply", "-f", "-"], JSON.stringify(priority));
    const resources = { requests: { cpu: String((await cpuShares()).pod) } };
    const container = { name: "main", image: "busybox:latest", imagePullPolicy: "IfNotPresent", resources };
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: IMPORTANT, namespace: "default" },
      spec: { priorityClassName: IMPORTANT, containers: [{ ...container, command: ["/bin/sh", "-c", ENDLESS] }] },
    };
    await millrace.kubectl(["apply", "-f", "-"], JSON.stringify(pod));
    const [retry] = await retryOf("dis-preempt");
    expect(retry?.data).toMatchObject({ attempt: 1, class: "preempted", next: { attempt: 2 } });
    await befall("dis-preempt", () => millrace.kubectl(["-n", "default", "delete", "pod", IMPORTANT]));
    await jobs.end("dis-preempt", ["preempted", "succeeded"], 1);
    await row("dis-preempt", {
      fault: "pod: preempted",
      what: "its node was given to a pod of higher priority; the job was tried again when that had gone, and what had been preempted did not count as an attempt",
    });
  });
});

describe.concurrent("J5: a Job that somebody deletes is dead, once, and does not come back", () => {
  it("deleted: with its pod", async () => {
    const { job } = await running("dis-job");
    await befall("dis-job", () => inJobs("delete", "job", job));
    const { record } = await jobs.end("dis-job", ["deleted"]);
    expect(record.reason).toContain("deleted by somebody");
    expect(await millrace.jobs("dis-job")).toEqual([]);
    await row("dis-job", {
      fault: "Job: deleted",
      what: "somebody deleted the Job with its pod; the job is dead, once, and in the DLQ",
      state: "dead",
    });
  });

  it("deleted: without its pod, which is stopped before anything is concluded", async () => {
    const { job } = await running("dis-orphan");
    await befall("dis-orphan", () => inJobs("delete", "job", job, "--cascade=orphan"));
    await jobs.end("dis-orphan", ["deleted"]);
    const path = `/api/v1/namespaces/${millrace.names.jobsNamespace}/pods`;
    const query = { labelSelector: `${LABEL.job}=${millrace.hash("dis-orphan")}` };
    const { items } = await millrace.kube.json<V1PodList>({ method: "GET", path, query });
    expect(items.map(podView).filter((pod) => !podEnded(pod))).toEqual([]);
    expect(await millrace.jobs("dis-orphan")).toEqual([]);
    await row("dis-orphan", {
      fault: "Job: deleted without its pod",
      what: "somebody deleted the Job and left its pod running; the pod was stopped, then the job was dead, once, and in the DLQ",
      state: "dead",
    });
  });
});

it("leaves nothing behind, and one Job was made for each attempt", async () => {
  await FaultLoad.expectNothingLeft(millrace);
  expect(await jobs.violations()).toEqual([]);
});
