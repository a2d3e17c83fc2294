import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { jobHash, messageHash } from "../../libs/contract/names.ts";
import type { JobRecord, MemoryLimits } from "../../libs/contract/record.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { type LiveConfig, parseDispatchConfig } from "../../libs/kube/dispatch-config-source.ts";
import { jobManifest } from "../../libs/kube/job-manifest.ts";
import { Heartbeat } from "../../libs/runtime/health.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import type { JobStore } from "../../libs/streams/job-store.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { type Delivered, INSTANCE, Workbench } from "../../libs/streams/testing/workbench.ts";
import { AttemptJudge } from "../monitor/attempt-judge.ts";
import { LogKeeper } from "../monitor/log-keeper.ts";
import { MissingOutcome } from "../monitor/missing-outcome.ts";
import { Reconciler, type ReconcilerOptions } from "../monitor/reconciler.ts";
import { StartFailures } from "../monitor/start-failures.ts";
import { Sweeper } from "../monitor/sweeper.ts";
import { FakeCluster } from "./fake-cluster.ts";
import { InstantObserver } from "./instant-observer.ts";

export const QUEUE = "default";

/** Pauses of nothing, so that a retry is due at once. */
const RETRY_NOW = { backoff: { initial: "0s" }, freeBackoff: { initial: "0s" } };
const CONFIG = { keep: { succeeded: "2m", failed: "1h" }, retry: { attempts: 1, ...RETRY_NOW } };

/** A message and the Job that a dispatcher made of it. */
export interface Made extends Delivered {
  readonly job: V1Job;
  readonly uid: string;
  readonly hash: string;
}

export interface MadeOptions {
  readonly prefix?: string;
  readonly namespace?: string;
  readonly queue?: string;
  readonly attempt?: number;
  readonly life?: number;
  readonly memory?: MemoryLimits;
  readonly keepSeconds?: number;
  readonly attempts?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Made of this delivery; without it a message is published. */
  readonly of?: Delivered;
}

/** A monitor between a real broker and a fake cluster. */
export class MonitorBench implements AsyncDisposable {
  readonly server: NatsTestServer;
  readonly streams: Workbench;
  cluster: FakeCluster;
  observer: InstantObserver;
  config: LiveConfig = configOf({});
  startFailures = new StartFailures();
  reconciler: Reconciler;
  /** How far the monitor's clock is ahead. */
  aheadMs = 0;

  private constructor(server: NatsTestServer, streams: Workbench, cluster: FakeCluster) {
    this.server = server;
    this.streams = streams;
    this.cluster = cluster;
    this.observer = new InstantObserver(cluster);
    this.reconciler = this.newReconciler();
  }

  static async open(queues: readonly string[] = [QUEUE]): Promise<MonitorBench> {
    const server = await NatsTestServer.start();
    return new MonitorBench(server, await Workbench.open(server, { queues }), await FakeCluster.start());
  }

  async reset(): Promise<void> {
    for (const stream of ["JOBS", "RETRY", "EVENTS", "DLQ", "KV_millrace_jobs", "KV_millrace_logs"]) {
      await this.streams.manager.streams.purge(stream);
    }
    await this.cluster[Symbol.asyncDispose]();
    this.cluster = await FakeCluster.start();
    this.config = configOf({});
    this.startFailures = new StartFailures();
    this.aheadMs = 0;
    this.observer = new InstantObserver(this.cluster);
    this.reconciler = this.newReconciler();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }

  readonly nowMs = (): number => Date.now() + this.aheadMs;

  /** Laid over the one queue of the beginning. */
  configure(queue: object): void {
    this.config = configOf(queue);
  }

  /** Another monitor: it remembers nothing. */
  newReconciler(rest: Partial<ReconcilerOptions> = {}, store: Omit<JobStore, "actions"> = this.streams.store): Reconciler {
    const { cluster, nowMs } = this;
    const log = silentLog;
    return new Reconciler({
      store,
      observer: this.observer,
      judge: new AttemptJudge({
        jobs: cluster.jobs,
        namespaces: cluster.namespaces,
        logs: new LogKeeper({ jobs: cluster.jobs, tails: this.streams.store.logs, log }),
        nowMs,
      }),
      missing: new MissingOutcome({ store, nowMs }),
      startFailures: this.startFailures,
      jobs: cluster.jobs,
      config: () => this.config,
      nowMs,
      random: () => 0.5,
      metrics: new Metrics("test"),
      log,
      ...rest,
    });
  }

  /** One round of the sweep, and what it hands to the reconciler. */
  async sweep(): Promise<void> {
    const enqueued = new Set<string>();
    const sweeper = new Sweeper({
      records: this.streams.store.records,
      observer: this.observer,
      reconciler: this.reconciler,
      namespaces: this.cluster.namespaces,
      others: [],
      enqueue: (uid) => void enqueued.add(uid),
      intervalMs: 3_600_000,
      heartbeat: new Heartbeat("sweep", { stallAfterMs: 60_000 }),
      metrics: new Metrics("monitor"),
      log: silentLog,
    });
    await sweeper.sweep(new AbortController().signal);
    for (const uid of enqueued) await this.reconciler.reconcile(uid);
  }

  async publish(id: string, queue = QUEUE): Promise<Delivered> {
    await this.streams.publish(queue, JSON.stringify({ id, template: "hello" }));
    return this.streams.one(queue);
  }

  async made(id: string, rest: MadeOptions = {}): Promise<Made> {
    const queue = rest.queue ?? QUEUE;
    const delivered = rest.of ?? (await this.publish(id, queue));
    const hash = jobHash(INSTANCE, queue, id);
    const config = this.config.queues[queue] ?? configOf({}).queues[QUEUE];
    if (config === undefined) throw new Error("no queue");
    const manifest = jobManifest(
      {
        instance: INSTANCE,
        queue,
        type: "hello",
        id,
        hash,
        attempt: rest.attempt ?? 1,
        life: rest.life ?? 1,
        messageHash: messageHash(Buffer.from(JSON.stringify({ id, template: "hello" }))),
        ack: delivered.ack,
        traceparent: undefined,
        memory: rest.memory ?? {},
      },
      {
        namespace: rest.namespace ?? "jobs",
        prefix: rest.prefix ?? "hello",
        service: undefined,
        podSpec: {
          containers: [
            {
              name: "main",
              resources: { limits: { memory: "64Mi" } },
              env: Object.entries(rest.env ?? {}).map(([name, value]) => ({ name, value })),
            },
          ],
        },
        deadlineSeconds: 60,
        keepSeconds: rest.keepSeconds,
        attempts: rest.attempts,
        params: {},
      },
      config,
    );
    const job = this.cluster.place(rest.namespace ?? "jobs", manifest);
    return { ...delivered, job, hash, uid: job.metadata?.uid ?? "" };
  }

  /** As `made`, and the monitor has seen it. */
  async running(id: string, rest: MadeOptions = {}): Promise<Made & { readonly record: JobRecord }> {
    const made = await this.made(id, rest);
    await this.reconciler.reconcile(made.uid);
    const record = await this.record(made.hash);
    if (record === undefined) throw new Error("no record was written");
    return { ...made, record };
  }

  /** The delivery of a retry that is due. */
  due(queue = QUEUE): Promise<Delivered> {
    return this.streams.one(queue, STREAM.retry);
  }

  /** Somebody deletes the Job object; with `cascade` its pods go, too. The monitor saw all that was there before. */
  remove(job: V1Job, cascade = true): void {
    this.observer.look();
    this.cluster.objects.delete(`${job.metadata?.namespace}/${job.metadata?.name}`);
    if (!cascade) return;
    const kept = this.cluster.pods.filter(({ metadata }) => metadata?.ownerReferences?.[0]?.uid !== job.metadata?.uid);
    this.cluster.pods.splice(0, this.cluster.pods.length, ...kept);
  }

  async record(hash: string): Promise<JobRecord | undefined> {
    return (await this.streams.store.records.get(hash))?.record;
  }

  /** How many events of each kind the job has, whatever their attempts. */
  async events(hash: string, queue = QUEUE): Promise<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const [subject, count] of Object.entries(await this.streams.counts("EVENTS", `events.${queue}.${hash}.>`))) {
      const kind = subject.split(".").at(-1) ?? "";
      counts[kind] = (counts[kind] ?? 0) + count;
    }
    return counts;
  }

  entry(hash: string, attempt = 1) {
    return this.streams.manager.streams.getMessage("DLQ", { last_by_subj: `dlq.${QUEUE}.hello.${hash}.${attempt}` });
  }
}

function configOf(queue: object): LiveConfig {
  return parseDispatchConfig(JSON.stringify({ queues: { [QUEUE]: { ...CONFIG, ...queue } } }));
}

type PodStatus = Partial<V1Pod["status"]>;
const STARTED_AT = "2026-01-01T00:00:01Z";

/** The status of a pod whose main container is in this state; times are text on the wire, whatever the generated types say. */
function mainIs(state: object, rest: object): PodStatus {
  const main = { name: "main", image: "", imageID: "", ready: false, restartCount: 0, state };
  return { ...rest, containerStatuses: [main] } as PodStatus;
}

export function terminated(exitCode: number, rest: { readonly message?: string; readonly reason?: string } = {}): PodStatus {
  const { message = "", reason = exitCode === 0 ? "Completed" : "Error" } = rest;
  const end = { exitCode, reason, message, startedAt: STARTED_AT, finishedAt: "2026-01-01T00:00:09Z" };
  return mainIs({ terminated: end }, { phase: exitCode === 0 ? "Succeeded" : "Failed" });
}

export function isRunning(rest: object = {}): PodStatus {
  return mainIs({ running: { startedAt: STARTED_AT } }, { phase: "Running", ...rest });
}

export function waits(reason: string, message = ""): PodStatus {
  return mainIs({ waiting: { reason, message } }, { phase: "Pending" });
}
