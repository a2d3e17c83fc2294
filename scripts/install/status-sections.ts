import { jetstreamManager } from "@nats-io/jetstream";
import { z } from "zod";
import { openSession } from "../../cli/src/session.ts";
import { LABEL } from "../../libs/contract/names.ts";
import { queueOfConsumer, STREAM, workerOfConsumer } from "../../libs/contract/streams.ts";
import { workAtFilter } from "../../libs/contract/work-subjects.ts";
import { IMAGE_SECRET } from "./image-pipeline.ts";
import { ObjectStore } from "./object-store.ts";
import { isFailing, isWell, podLine, podSchema } from "./pod-lines.ts";
import type { Profile } from "./profile.ts";
import type { Section } from "./section.ts";
import { kubectlJson, type Target } from "./target.ts";

const LAST_JOBS = 8;
const LAST_OBJECTS = 8;
const WORKER_LABEL = "millrace.dev/worker";

export async function serviceLines(target: Target, profile: Profile): Promise<Section> {
  // The pods of workers come and go.
  const selector = `app.kubernetes.io/instance=${profile.release},!${WORKER_LABEL}`;
  const found = await kubectlJson(target, ["-n", profile.namespace, "get", "pods", "-l", selector]);
  const { items } = z.object({ items: z.array(podSchema) }).parse(found);
  if (items.length === 0) return { well: false, lines: ["nothing is installed; install with: make up"] };
  return { well: items.every(isWell), lines: items.map(podLine) };
}

export async function streamLines(target: Target, profile: Profile): Promise<Section> {
  await using session = await openSession({
    server: undefined,
    kubeconfig: target.kubeconfig,
    context: target.context,
    ...profile,
  });
  const manager = await jetstreamManager(session.connection);
  const lines: string[] = [];
  for await (const { config, state } of manager.streams.list()) {
    lines.push(
      `${config.name.padEnd(20)} ${String(state.messages).padStart(8)} messages  ${String(state.bytes).padStart(12)} bytes`,
    );
  }
  for await (const consumer of manager.consumers.list(STREAM.jobs)) {
    const queue = queueOfConsumer(consumer.name) ?? consumer.name;
    lines.push(
      `queue ${queue.padEnd(14)} ${String(consumer.num_pending).padStart(8)} waiting   ${String(consumer.num_ack_pending).padStart(12)} running`,
    );
  }
  return { well: true, lines: lines.sort() };
}

/** Of each worker its pods and its messages; undefined when there are no workers. */
export async function workerLines(target: Target, profile: Profile): Promise<Section | undefined> {
  const pods = workerPods.parse(await kubectlJson(target, ["-n", profile.namespace, "get", "pods", "-l", WORKER_LABEL])).items;
  await using session = await openSession({
    server: undefined,
    kubeconfig: target.kubeconfig,
    context: target.context,
    ...profile,
  });
  const manager = await jetstreamManager(session.connection);
  const lines: string[] = [];
  for await (const { name, num_pending, num_ack_pending } of manager.consumers.list(STREAM.work)) {
    const worker = workerOfConsumer(name);
    if (worker === undefined) continue;
    const due = await manager.consumers.info(STREAM.workRetry, name);
    const retries = await manager.streams.info(STREAM.workRetry, { subjects_filter: workAtFilter(worker) });
    const own = pods.filter(({ metadata }) => metadata.labels[WORKER_LABEL] === worker);
    const parts = [
      `${own.length} ${own.length === 1 ? "pod" : "pods"}`,
      `${num_pending + due.num_pending} waiting`,
      `${num_ack_pending + due.num_ack_pending} running`,
      `${Object.keys(retries.state.subjects ?? {}).length} sleeping`,
    ];
    lines.push(`${worker.padEnd(20)} ${parts.map((part) => part.padStart(12)).join("")}`);
  }
  if (lines.length === 0) return undefined;
  const sick = pods.filter(isFailing);
  return { well: sick.length === 0, lines: [...lines.sort(), ...sick.map(podLine)] };
}

/** The newest of what the image workers made, in the store that `make up ARGS="--with images"` brings; undefined without it. */
export async function objectLines(target: Target, profile: Profile): Promise<Section | undefined> {
  const store = new ObjectStore({ target, namespace: profile.namespace, secret: IMAGE_SECRET });
  if (!(await store.exists())) return undefined;
  const lines = (await store.objects())
    .slice(-LAST_OBJECTS)
    .map(({ key, bytes, storedAt }) => `${storedAt.toISOString()}  ${key.padEnd(70)} ${String(bytes).padStart(9)} bytes`);
  return { well: true, lines: lines.length === 0 ? ["none yet"] : lines };
}

const workerPods = z.object({
  items: z.array(podSchema.and(z.object({ metadata: z.object({ labels: z.record(z.string(), z.string()) }) }))),
});

const jobList = z.object({
  items: z.array(
    z.object({
      metadata: z.object({
        name: z.string(),
        creationTimestamp: z.string(),
        annotations: z.record(z.string(), z.string()).default({}),
      }),
      status: z
        .object({ active: z.number().default(0), succeeded: z.number().default(0), failed: z.number().default(0) })
        .default({
          active: 0,
          succeeded: 0,
          failed: 0,
        }),
    }),
  ),
});

export async function jobLines(target: Target, profile: Profile): Promise<Section> {
  const args = ["-n", profile.jobsNamespace, "get", "jobs", "-l", LABEL.instance];
  const { items } = jobList.parse(await kubectlJson(target, args));
  const newest = items
    .sort((a, b) => b.metadata.creationTimestamp.localeCompare(a.metadata.creationTimestamp))
    .slice(0, LAST_JOBS);
  const lines = newest.map(({ metadata, status }) => {
    const state = status.succeeded > 0 ? "succeeded" : status.failed > 0 ? "failed" : status.active > 0 ? "running" : "pending";
    return `${metadata.creationTimestamp}  ${metadata.name.padEnd(60)} ${state}`;
  });
  return {
    well: true,
    lines: lines.length === 0 ? ["none in the cluster; settled ones go after a while: millrace get ID"] : lines,
  };
}
