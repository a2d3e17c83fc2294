import { historyProblems } from "../../libs/contract/history-lint.ts";
import { jobSpan } from "../../libs/contract/job-span.ts";
import { jobSelector } from "../../libs/contract/names.ts";
import type { JobView } from "../../libs/contract/observation.ts";
import { loadKubeAccess } from "../../libs/kube/access.ts";
import { KubeClient } from "../../libs/kube/client.ts";
import { DispatchConfigSource } from "../../libs/kube/dispatch-config-source.ts";
import { JobsApi } from "../../libs/kube/jobs-api.ts";
import { LeaseElection } from "../../libs/kube/lease-election.ts";
import { NamespacesApi } from "../../libs/kube/namespaces-api.ts";
import { Health, Heartbeat, WorkUnderWay } from "../../libs/runtime/health.ts";
import { HttpServer } from "../../libs/runtime/http-server.ts";
import { Lifecycle, runUntilSignal, type Service } from "../../libs/runtime/lifecycle.ts";
import { createLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { runTerm } from "../../libs/runtime/term.ts";
import { openTraces } from "../../libs/runtime/trace.ts";
import { BrokerLink } from "../../libs/streams/broker-link.ts";
import { connectNats, payloadProblems } from "../../libs/streams/connection.ts";
import { JetStreamPulse } from "../../libs/streams/jetstream-pulse.ts";
import { openJobStore } from "../../libs/streams/job-store.ts";
import { Provisioner } from "../../libs/streams/provision.ts";
import { AttemptJudge } from "./attempt-judge.ts";
import { ConsumerProvisioning } from "./consumer-provisioning.ts";
import { readMonitorEnv } from "./env.ts";
import { ExpiredJobs } from "./expired-jobs.ts";
import { loggedJob } from "./job-identity.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { LogKeeper } from "./log-keeper.ts";
import { MissingOutcome } from "./missing-outcome.ts";
import { NamespaceRoom } from "./namespace-room.ts";
import { Observer } from "./observer.ts";
import { Patience } from "./patience.ts";
import { QueueGauges } from "./queue-gauges.ts";
import { Reconciler } from "./reconciler.ts";
import { RecordRoom } from "./record-room.ts";
import { RemovedQueues } from "./removed-queues.ts";
import { openRequestServer } from "./requests/open-server.ts";
import { SleepingRecords } from "./sleeping-records.ts";
import { StartFailures } from "./start-failures.ts";
import { StrandedMessages } from "./stranded-messages.ts";
import { StreamFill } from "./stream-fill.ts";
import { Sweeper } from "./sweeper.ts";
import { UnroutedMessages } from "./unrouted-messages.ts";
import { WorkQueue } from "./work-queue.ts";
import { WorkerWatch } from "./workers/worker-watch.ts";

/** Jobs that are looked at at once; each look is a few round trips to NATS and the API server. */
const CONCURRENCY = 16;

/**
 * The monitor: watches Jobs and pods, keeps the leases of their messages, judges and settles, sweeps, and answers people. Every replica watches
 * and answers; only the leader acts on its own.
 */
export async function runMonitor(processEnv: NodeJS.ProcessEnv): Promise<void> {
  const env = readMonitorEnv(processEnv);
  const instance = env.MILLRACE_INSTANCE;
  const nowMs = Date.now;
  const log = createLog({ service: "monitor", level: env.LOG_LEVEL, pod: env.POD_NAME });
  const metrics = new Metrics("monitor");
  const health = new Health();
  const http = new HttpServer({ port: env.HTTP_SERVER_PORT, health, metrics });
  await http.start();
  log.info("http.started", { port: http.port });
  const client = new KubeClient({
    access: await loadKubeAccess(processEnv),
    onAnswer: (answer) => metrics.kubeAnswered(answer),
  });
  const link = new BrokerLink({ onDenied: (what) => log.warn("nats.denied", { what }) });
  health.mustBeReady(link.reached);
  health.mention(() => link.denied());
  const connection = await connectNats({
    settings: env,
    name: `millrace-monitor ${env.POD_NAME}`,
    onUnreachable: (problem) => {
      link.failed(problem);
      log.warn("nats.unreachable", { problem });
    },
  });
  void link.follow(connection);
  const { HISTORY: historyMs, ACK_WAIT: ackWaitMs, STREAM_REPLICAS: replicas, STORE_SIZE: storeBytes } = env;
  const provisioner = new Provisioner({ connection, topology: { instance, historyMs, ackWaitMs, replicas, storeBytes } });
  const traces = await openTraces({ settings: env, service: "monitor", instance, pod: env.POD_NAME, metrics, log });
  const store = await openJobStore({ connection, instance, onOutcome: (record) => traces?.add(jobSpan(record)) });
  const { broker } = store;
  const jobs = new JobsApi({ client });
  const namespaces = new NamespacesApi({ client });
  const config = new DispatchConfigSource({ client, namespace: env.POD_NAMESPACE, configMap: env.CONFIG_MAP, log });
  const queues = () => config.current.queues;

  // Every step of a look ends by itself in seconds, also when NATS or the API server does not answer.
  const looks = new WorkUnderWay("work-queue", { stallAfterMs: 900_000, freeForMs: () => link.upForMs() });
  const queue = new WorkQueue({
    handle: (uid) => reconciler.reconcile(uid),
    concurrency: CONCURRENCY,
    about: (uid) => {
      const job = observer.sighting(uid)?.job;
      return job === undefined ? { uid } : loggedJob(job);
    },
    underWay: looks,
    metrics,
    log,
  });
  const enqueue = (uid: string): void => queue.add(uid);
  let sweeper: Sweeper | undefined;
  const onListed = (): void => sweeper?.soon();
  const observer = new Observer({ client, instance, namespaces: env.JOB_NAMESPACES, onJob: enqueue, onListed, log });
  const logs = new LogKeeper({ jobs, tails: store.logs, log });
  const startFailures = new StartFailures();
  const missing = new MissingOutcome({ store, nowMs });
  const reconciler = new Reconciler({
    store,
    observer,
    jobs,
    judge: new AttemptJudge({ jobs, namespaces, logs, nowMs: () => client.serverNowMs() }),
    missing,
    startFailures,
    config: () => config.current,
    nowMs,
    random: Math.random,
    traces,
    metrics,
    log,
  });
  const requests = await openRequestServer({
    connection,
    instance,
    queues: () => Object.keys(queues()),
    store,
    jobs,
    beginStop: ({ namespace, name, uid }, reason) => jobs.suspend(namespace, name, uid, "cancelled", reason),
    liveJobs: live,
    log,
  });

  function* live(): IterableIterator<JobView> {
    for (const job of observer.jobs()) if (!reconciler.isDone(job.uid)) yield job;
  }

  const pulse = new JetStreamPulse({ broker, ackWaitMs });
  const workerLooks = new WorkUnderWay("workers", { stallAfterMs: 900_000, freeForMs: () => link.upForMs() });
  const workers = new WorkerWatch({
    client,
    connection,
    store,
    instance,
    namespace: env.POD_NAMESPACE,
    config,
    ackWaitMs,
    upForMs: () => Math.min(link.upForMs(), pulse.answersForMs()),
    patience: () => new Patience({ afterMs: env.UNKNOWN_QUEUE_AFTER }),
    underWay: workerLooks,
    metrics,
    log,
  });

  const streamFill = new StreamFill({ broker, metrics, log });
  const sweepBeat = new Heartbeat("sweep", { stallAfterMs: env.SWEEP_INTERVAL * 4 + 60_000, freeForMs: () => link.upForMs() });
  const leaseBeat = new Heartbeat("lease-keeper", { stallAfterMs: 60_000 });
  let consumers: ConsumerProvisioning | undefined;
  const leaderServices = async (): Promise<readonly Service[]> => {
    await provisioner.streams();
    consumers = new ConsumerProvisioning({ provisioner, config, log });
    const patience = new Patience({ afterMs: env.UNKNOWN_QUEUE_AFTER });
    const workerTerm = await workers.term();
    const others = [
      await StrandedMessages.open({ connection, queues, workers: () => config.current.workers, log }),
      consumers,
      await UnroutedMessages.open({ connection, instance, store, queues, patience, metrics, log }),
      new SleepingRecords({ store, missing, queues, patience, nowMs, metrics, log }),
      await RemovedQueues.open({ connection, broker, store, queues, patience, metrics, log }),
      new ExpiredJobs({ jobs: () => observer.jobs(), api: jobs, queues, nowMs: () => client.serverNowMs(), log }),
      streamFill,
      new RecordRoom({ records: store.records, log }),
      await QueueGauges.open({ connection, queues, metrics }),
      ...workerTerm.sweeps,
    ];
    const { SWEEP_INTERVAL: intervalMs } = env;
    const { records } = store;
    sweeper = new Sweeper({
      records,
      observer,
      reconciler,
      namespaces,
      others,
      enqueue,
      intervalMs,
      heartbeat: sweepBeat,
      metrics,
      log,
    });
    return [
      consumers,
      queue,
      ...workerTerm.services,
      new LeaseKeeper({ liveJobs: live, queues, messages: store.messages, ackWaitMs, heartbeat: leaseBeat, metrics, log }),
      new NamespaceRoom({
        connection,
        jobs,
        namespaces: env.JOB_NAMESPACES,
        selector: jobSelector(instance),
        nowMs: () => client.serverNowMs(),
        log,
      }),
      sweeper,
    ];
  };
  const election = new LeaseElection({
    client,
    namespace: env.POD_NAMESPACE,
    name: env.LEASE_NAME,
    identity: env.POD_NAME,
    term: (signal) => runTerm({ services: leaderServices, signal, stopTimeoutMs: env.SHUTDOWN_TIMEOUT, log }),
    log,
  });

  health.mustLive(election.heartbeat);
  for (const loop of [looks, workerLooks, leaseBeat, sweepBeat]) health.mustLive(loop);
  health.mustLive(link.open);
  health.mustBeReady({ name: "config", problem: () => config.problem() });
  health.mustBeReady({ name: "election", problem: () => election.problem() });
  health.mustBeReady({ name: "consumers", problem: () => (election.isLeader() ? consumers?.problem() : undefined) });
  health.mustBeReady({ name: "watch", problem: () => observer.problem() });
  health.mention(() => observer.problems().map((problem) => `namespace ${problem}`));
  health.mention(() =>
    startFailures
      .blockedQueues(Object.keys(queues()))
      .map((name) => `queue ${name}: pods of several jobs in a row did not start`),
  );
  health.mention(() => (election.isLeader() ? streamFill.alarms() : []));
  health.mention(() => workers.notes());
  health.mention(() => historyProblems(config.current, historyMs));
  health.mention(() => payloadProblems(connection.info?.max_payload));
  metrics.beforeScrape(() => {
    metrics.leader.set(election.isLeader() ? 1 : 0);
    metrics.natsConnected.set(link.isUp ? 1 : 0);
    metrics.watchFreshness.set({ kind: "configmaps", namespace: env.POD_NAMESPACE }, config.freshnessMs() / 1000);
    for (const { kind, namespace, freshnessMs } of observer.freshness()) {
      metrics.watchFreshness.set({ kind, namespace }, freshnessMs / 1000);
    }
    const workersFreshnessMs = workers.pods.freshnessMs();
    if (workersFreshnessMs !== undefined) {
      metrics.watchFreshness.set({ kind: "worker-pods", namespace: env.POD_NAMESPACE }, workersFreshnessMs / 1000);
    }
    if (!election.isLeader()) metrics.resetLeaderGauges();
  });
  config.subscribe((current) => {
    metrics.beginQueues(Object.keys(current.queues));
    metrics.beginWorkers(Object.keys(current.workers));
    for (const problem of historyProblems(current, historyMs)) log.warn("config.history-too-short", { problem });
  });

  const lifecycle = new Lifecycle({
    services: [
      http,
      ...(traces === undefined ? [] : [traces]),
      { name: "kube-client", start: () => Promise.resolve(), stop: () => client.close() },
      { name: "nats", start: () => Promise.resolve(), stop: () => connection.drain() },
      pulse,
      config,
      observer,
      workers,
      requests,
      election,
      { name: "readiness", start: () => Promise.resolve(health.serve()), stop: () => Promise.resolve(health.drain()) },
    ],
    log,
    stopTimeoutMs: env.SHUTDOWN_TIMEOUT,
  });
  await runUntilSignal({ lifecycle, log });
}
