import { setTimeout as sleep } from "node:timers/promises";
import type { V1Job } from "@kubernetes/client-node";
import { AckPolicy, jetstream, RetentionPolicy, StorageType } from "@nats-io/jetstream";
import { ANNOTATION } from "../libs/contract/names.ts";
import { KubeClient } from "../libs/kube/client.ts";
import { jobsPath } from "../libs/kube/jobs-api.ts";
import { Watch } from "../libs/kube/watch.ts";
import { silentLog } from "../libs/runtime/log.ts";
import { Keda } from "../scripts/install/keda.ts";
import { FakeNodes, onFakeNodes } from "./harness/fake-nodes.ts";
import type { Report } from "./harness/report.ts";
import { QUEUE, Rig } from "./harness/rig.ts";
import { median, quantile, spread } from "./harness/rounds.ts";
import type { Bench, Stage } from "./harness/stage.ts";

/** One way from a message to a Job. */
interface Way {
  readonly name: string;
  /** What the Job of the message with this number is known by. */
  key(index: number): string;
  publish(key: string): Promise<void>;
  /** The Job was seen: the message is to go, as its job would have it. */
  done(key: string): Promise<void>;
}

const MESSAGES_PER_ROUND = 5;
/** Messages come at any moment of this time, evenly spread: what polls may have asked just before, or be about to. */
const WINDOW_MS = 30_000;
const DEFAULT_POLL_SECONDS = 30;
const QUICK_POLL_SECONDS = 1;
/** Each has one message under way at most, so those that poll quickly are used again. */
const QUICK_POLLERS = 5;
const FAKE_NODES = 4;
/** The label `app` of pods that succeed as soon as they run. */
const QUICK = "quick";
const SCALED_JOB_LABEL = "scaledjob.keda.sh/name";

const POD_SPEC = {
  ...onFakeNodes,
  containers: [{ name: "main", image: "busybox:latest", command: ["true"] }],
} as const;

export const keda: Bench = { name: "keda", shape: "whole", run };

async function run(stage: Stage): Promise<Report> {
  const { cluster, progress } = stage;
  // Before there are fake nodes: its own pods are to run.
  const access = { title: cluster.name, binDir: cluster.local.binDir, context: cluster.name, kubeconfig: cluster.kubeconfig };
  const installed = new Keda({
    target: {
      ...access,
      takesImports: true,
      importImage: ({ archivePath, reference }) => cluster.local.importImage(archivePath, reference),
    },
  });
  await installed.ensure(progress);
  await using rig = await Rig.open({
    stage,
    name: "keda",
    services: ["dispatcher", "monitor"],
    firstPort: 14_800,
    slots: 100,
    hello: { podSpec: POD_SPEC },
  });
  const nodes = await FakeNodes.start({
    count: FAKE_NODES,
    completes: { app: QUICK },
    kubeconfig: cluster.kubeconfig,
    kubectl: cluster.kubectl(),
    folder: rig.folder,
    progress,
  });
  try {
    const count = stage.rounds * MESSAGES_PER_ROUND;
    const ways = [
      millrace(rig),
      await scaledJobs({ stage, rig, pollSeconds: DEFAULT_POLL_SECONDS, pollers: count }),
      await scaledJobs({ stage, rig, pollSeconds: QUICK_POLL_SECONDS, pollers: QUICK_POLLERS }),
    ];
    await cluster.kubectl().run(["wait", "--for=condition=Ready", "--timeout=120s", "scaledjob", "--all", "-n", rig.namespace]);
    progress("ScaledJobs are ready");
    const seen = await race(stage, rig, ways, count);
    return reportOf(seen, stage.rounds, installed.version);
  } finally {
    await nodes.process.stop();
  }
}

function millrace(rig: Rig): Way {
  const client = jetstream(rig.connection);
  return {
    name: "Millrace",
    key: (index) => `message-${index}`,
    async publish(id) {
      await client.publish(`jobs.${QUEUE}.hello`, JSON.stringify({ id, template: "hello", service: QUICK }));
    },
    done: () => Promise.resolve(),
  };
}

/** ScaledJobs on streams of their own, on the same NATS. Their pods do nothing, so the message is taken away when its Job is seen. */
async function scaledJobs(options: {
  readonly stage: Stage;
  readonly rig: Rig;
  readonly pollSeconds: number;
  readonly pollers: number;
}): Promise<Way> {
  const { stage, rig, pollSeconds, pollers } = options;
  const names = Array.from({ length: pollers }, (_, index) => `poll-${pollSeconds}-${index}`);
  for (const name of names) {
    await rig.streams.streams.add({
      name,
      subjects: [`keda.${name}`],
      retention: RetentionPolicy.Workqueue,
      storage: StorageType.File,
    });
    await rig.streams.consumers.add(name, { durable_name: "jobs", ack_policy: AckPolicy.Explicit });
  }
  const metadata = { natsServerMonitoringEndpoint: rig.natsMonitor, account: "$G", consumer: "jobs", lagThreshold: "1" };
  const template = {
    metadata: { labels: { app: QUICK } },
    spec: { ...POD_SPEC, restartPolicy: "Never" },
  };
  await stage.cluster.kubectl().apply(
    names.map((name) => ({
      apiVersion: "keda.sh/v1alpha1",
      kind: "ScaledJob",
      metadata: { name, namespace: rig.namespace },
      spec: {
        pollingInterval: pollSeconds,
        jobTargetRef: { backoffLimit: 0, template },
        triggers: [{ type: "nats-jetstream", metadata: { ...metadata, stream: name } }],
      },
    })),
  );
  const client = jetstream(rig.connection);
  return {
    name: `KEDA ScaledJob, polls each ${pollSeconds} s`,
    key: (index) => names[index % names.length] ?? "",
    async publish(name) {
      await client.publish(`keda.${name}`, "{}");
    },
    async done(name) {
      await rig.streams.streams.purge(name);
    },
  };
}

/**
 * Milliseconds from just before the publish until one observer's watch shows the Job, by way and message. Open loop: all ways in the same seconds,
 * each message at a moment of its own, whatever became of those before.
 */
async function race(stage: Stage, rig: Rig, ways: readonly Way[], count: number): Promise<Map<string, number[]>> {
  const client = new KubeClient({ access: stage.access });
  const waiting = new Map<string, (atMs: number) => void>();
  const known = new Set<string>();
  const jobs = new Watch<{ readonly uid: string; readonly key: string }>({
    client,
    path: jobsPath(rig.namespace),
    selector: {},
    project: (object) => {
      const { uid = "", labels, annotations } = (object as V1Job).metadata ?? {};
      return { uid, key: annotations?.[ANNOTATION.id] ?? labels?.[SCALED_JOB_LABEL] ?? "" };
    },
    onChange: (change) => {
      if (change.kind === "gone" || known.has(change.view.uid)) return;
      known.add(change.view.uid);
      waiting.get(change.view.key)?.(performance.now());
    },
    log: silentLog,
  });
  await jobs.start();
  const startMs = performance.now();
  const one = async (way: Way, index: number): Promise<number> => {
    await sleep(startMs + ((index + Math.random()) / count) * WINDOW_MS - performance.now());
    const publishedMs = performance.now();
    const { promise, resolve } = Promise.withResolvers<number>();
    const key = way.key(index);
    waiting.set(key, resolve);
    await way.publish(key);
    const seenMs = await promise;
    waiting.delete(key);
    await way.done(key);
    return seenMs - publishedMs;
  };
  const all = ways.map(async (way) => {
    const latencies = await Promise.all(Array.from({ length: count }, (_, index) => one(way, index)));
    stage.progress(`${way.name}: p50 ${median(latencies).toFixed(0)} ms`);
    return [way.name, latencies] as const;
  });
  const seen = new Map(await Promise.all(all));
  await jobs.stop();
  await client.close();
  return seen;
}

function reportOf(seen: ReadonlyMap<string, readonly number[]>, rounds: number, version: string): Report {
  const [ours, slow, quick] = [...seen.values()].map((latencies) => inRounds(latencies, rounds).map((round) => median(round)));
  const ratioTo = (theirs: readonly number[] | undefined): number => median(theirs ?? []) / median(ours ?? []);
  const goal = (theirs: readonly number[] | undefined, seconds: number, atLeast: number) => ({
    what: `publish → Job created, against KEDA ScaledJob that polls each ${seconds} s`,
    target: `≥ ${atLeast}× sooner`,
    figure: `${ratioTo(theirs).toFixed(0)}×`,
    met: ratioTo(theirs) >= atLeast,
  });
  return {
    name: "keda",
    title: "From the message to its Job, beside KEDA",
    method: [
      `KEDA ${version} and Millrace on one cluster, one NATS, in the same seconds; pods on fake nodes (kwok) that end at once.`,
      `Each way gets ${MESSAGES_PER_ROUND} single messages per round at random moments spread over ${WINDOW_MS / 1000} s, whatever became of those before.`,
      "Each ScaledJob has a stream and a `nats-jetstream` trigger of its own and one message under way at most, so that nothing waits behind another.",
      "Measured on one clock by one observer: from just before the publish until its watch shows the Job.",
    ],
    goals: [goal(slow, DEFAULT_POLL_SECONDS, 100), goal(quick, QUICK_POLL_SECONDS, 10)],
    tables: [
      {
        title: "Publish → Job created, ms",
        columns: ["", "p50 (rounds' lowest–highest)", "p90", "highest"],
        rows: [...seen].map(([name, latencies]) => [
          name,
          spread(inRounds(latencies, rounds).map((round) => median(round))),
          quantile(latencies, 0.9).toFixed(0),
          Math.max(...latencies).toFixed(0),
        ]),
      },
    ],
  };
}

/** Every nth message belongs to a round: so each round has messages from the whole time. */
function inRounds(latencies: readonly number[], rounds: number): number[][] {
  return Array.from({ length: rounds }, (_, round) => latencies.filter((_latency, index) => index % rounds === round));
}
