import { jetstreamManager } from "@nats-io/jetstream";
import { z } from "zod";
import { openSession } from "../../cli/src/session.ts";
import { LABEL } from "../../libs/contract/names.ts";
import { queueOfConsumer, STREAM } from "../../libs/contract/streams.ts";
import { isWell, podLine, podSchema } from "./pod-lines.ts";
import type { Profile } from "./profile.ts";
import type { Section } from "./section.ts";
import { kubectlJson, type Target } from "./target.ts";

const LAST_JOBS = 8;

export async function serviceLines(target: Target, profile: Profile): Promise<Section> {
  const selector = `app.kubernetes.io/instance=${profile.release}`;
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
