import { join } from "node:path";
import { jetstreamManager } from "@nats-io/jetstream";
import { z } from "zod";
import { openSession } from "../../cli/src/session.ts";
import { LABEL } from "../../libs/contract/names.ts";
import { queueOfConsumer, STREAM } from "../../libs/contract/streams.ts";
import type { LocalCluster } from "../cluster/cluster.ts";
import { command } from "../cluster/command.ts";
import type { Profile } from "./profile.ts";

export interface Section {
  readonly well: boolean;
  readonly lines: readonly string[];
}

const LAST_JOBS = 8;

export async function componentLines(cluster: LocalCluster): Promise<Section> {
  const health = await cluster.health();
  const sick = health.filter(({ state }) => state !== "running");
  if (sick.length === 0) return { well: true, lines: [`${health.length} components run; context ${cluster.context}`] };
  return {
    well: false,
    lines: sick.map(({ component, state, detail, logFile }) => `${component} is ${state}: ${detail} (log: ${logFile})`),
  };
}

const podList = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string() }),
      status: z.object({
        phase: z.string().default(""),
        containerStatuses: z
          .array(
            z.object({
              ready: z.boolean(),
              restartCount: z.number(),
              state: z.object({ waiting: z.object({ reason: z.string().default("") }).optional() }).default({}),
            }),
          )
          .default([]),
      }),
    }),
  ),
});

export async function serviceLines(cluster: LocalCluster, profile: Profile): Promise<Section> {
  const selector = `app.kubernetes.io/instance=${profile.release}`;
  const { items } = podList.parse(await kubectlJson(cluster, ["-n", profile.namespace, "get", "pods", "-l", selector]));
  if (items.length === 0) return { well: false, lines: ["nothing is installed; install with: make up"] };
  const lines = items.map(({ metadata, status }) => {
    const container = status.containerStatuses[0];
    const ready = container?.ready === true ? "ready" : (container?.state.waiting?.reason ?? "not ready");
    return `${metadata.name.padEnd(44)} ${ready}, ${container?.restartCount ?? 0} restarts`;
  });
  return { well: items.every(({ status }) => status.containerStatuses.every(({ ready }) => ready)), lines };
}

export async function streamLines(cluster: LocalCluster, profile: Profile): Promise<Section> {
  await using session = await openSession({
    server: undefined,
    kubeconfig: cluster.kubeconfig,
    context: cluster.context,
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

export async function jobLines(cluster: LocalCluster, profile: Profile): Promise<Section> {
  const args = ["-n", profile.jobsNamespace, "get", "jobs", "-l", LABEL.instance];
  const { items } = jobList.parse(await kubectlJson(cluster, args));
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

async function kubectlJson(cluster: LocalCluster, args: readonly string[]): Promise<unknown> {
  return JSON.parse(await command(join(cluster.binDir, "kubectl"), ["--kubeconfig", cluster.kubeconfig, ...args, "-o", "json"]));
}
