import { jobSpan } from "../../libs/contract/job-span.ts";
import { SIGNAL } from "../../libs/contract/streams.ts";
import { loadKubeAccess } from "../../libs/kube/access.ts";
import { KubeClient } from "../../libs/kube/client.ts";
import { DispatchConfigSource } from "../../libs/kube/dispatch-config-source.ts";
import { JobsApi } from "../../libs/kube/jobs-api.ts";
import { LeaseElection } from "../../libs/kube/lease-election.ts";
import { MONOTONIC_CLOCK } from "../../libs/runtime/clock.ts";
import { Health, WorkUnderWay } from "../../libs/runtime/health.ts";
import { HttpServer } from "../../libs/runtime/http-server.ts";
import { Lifecycle, runUntilSignal, type Service } from "../../libs/runtime/lifecycle.ts";
import { createLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { runTerm } from "../../libs/runtime/term.ts";
import { openTraces } from "../../libs/runtime/trace.ts";
import { BrokerLink } from "../../libs/streams/broker-link.ts";
import { connectNats } from "../../libs/streams/connection.ts";
import { openJobStore } from "../../libs/streams/job-store.ts";
import { Admission } from "./admission.ts";
import { Dispatcher } from "./dispatcher.ts";
import { readDispatcherEnv } from "./env.ts";
import { PullLoops } from "./pull-loop.ts";
import { Rejections } from "./rejections.ts";

/** The dispatcher: JOBS and RETRY → Kubernetes Job. */
export async function runDispatcher(processEnv: NodeJS.ProcessEnv): Promise<void> {
  const env = readDispatcherEnv(processEnv);
  const instance = env.MILLRACE_INSTANCE;
  const log = createLog({ service: "dispatcher", level: env.LOG_LEVEL, pod: env.POD_NAME });
  const metrics = new Metrics("dispatcher");
  const health = new Health();
  const http = new HttpServer({ port: env.HTTP_SERVER_PORT, health, metrics });
  await http.start();
  log.info("http.started", { port: http.port });
  const kube = new KubeClient({
    access: await loadKubeAccess(processEnv),
    onAnswer: (answer) => metrics.kubeAnswered(answer),
  });
  const link = new BrokerLink({ onDenied: (what) => log.warn("nats.denied", { what }) });
  health.mustBeReady(link.reached);
  health.mention(() => link.denied());
  const connection = await connectNats({
    settings: env,
    name: `millrace-dispatcher ${env.POD_NAME}`,
    onUnreachable: (problem) => {
      link.failed(problem);
      log.warn("nats.unreachable", { problem });
    },
  });
  void link.follow(connection);
  const traces = await openTraces({ settings: env, service: "dispatcher", instance, pod: env.POD_NAME, metrics, log });
  const store = await openJobStore({ connection, instance, onOutcome: (record) => traces?.add(jobSpan(record)) });
  const config = new DispatchConfigSource({ client: kube, namespace: env.POD_NAMESPACE, configMap: env.CONFIG_MAP, log });
  const nowMs = Date.now;
  const admission = new Admission({
    config: () => config.current,
    jobsNamespace: env.JOBS_NAMESPACE,
    historyMs: env.HISTORY,
    nowMs,
  });

  // What waits for a namespace is not in a batch any more. What waits for its turn may wait for long, behind heavier queues or a slow API server,
  // and as long as turns come back that is nobody's fault here.
  const freeForMs = (): number => Math.min(link.upForMs(), working?.dispatcher.sinceTurnMs ?? Number.POSITIVE_INFINITY);
  const batches = new WorkUnderWay("pull", { stallAfterMs: 900_000, freeForMs });
  let working: { readonly dispatcher: Dispatcher; readonly loops: PullLoops } | undefined;
  const work = (): readonly Service[] => {
    const dispatcher = new Dispatcher({
      ...store,
      instance,
      admission,
      jobs: new JobsApi({ client: kube }),
      rejections: new Rejections({ ...store, nowMs, traces, metrics, log }),
      onNamespaceFull: (namespace) => connection.publish(SIGNAL.namespaceFull, namespace),
      ackWaitMs: env.ACK_WAIT,
      clock: MONOTONIC_CLOCK,
      nowMs,
      random: Math.random,
      traces,
      metrics,
      log,
    });
    const loops = new PullLoops({ connection, config, dispatcher, underWay: batches, log });
    working = { dispatcher, loops };
    // Stopped in reverse: nothing is pulled any more, then what is held or waits for a turn is handed back, so that the loops have little to wait for.
    const pulling = { name: "pulling", start: () => Promise.resolve(), stop: () => Promise.resolve(loops.close()) };
    return [loops, dispatcher, pulling];
  };
  const election = new LeaseElection({
    client: kube,
    namespace: env.POD_NAMESPACE,
    name: env.LEASE_NAME,
    identity: env.POD_NAME,
    term: (signal) => runTerm({ services: () => Promise.resolve(work()), signal, stopTimeoutMs: env.SHUTDOWN_TIMEOUT, log }),
    log,
  });

  health.mustLive(link.open);
  health.mustLive(batches);
  health.mustBeReady({ name: "config", problem: () => config.problem() });
  health.mustBeReady({ name: "pull", problem: () => working?.loops.problem() });
  if (env.LEADER_ELECTION) {
    health.mustLive(election.heartbeat);
    health.mustBeReady({ name: "election", problem: () => election.problem() });
  }
  health.mention(() =>
    (working?.dispatcher.blocked() ?? []).map(
      ({ queue, namespace, why, held, forMs }) =>
        `queue ${queue}: namespace ${namespace} accepts no Jobs for ${Math.round(forMs / 1000)} s, ${held} messages wait: ${why}`,
    ),
  );
  config.subscribe(({ queues }) => metrics.beginQueues(Object.keys(queues)));
  metrics.beforeScrape(() => {
    metrics.natsConnected.set(link.isUp ? 1 : 0);
    metrics.watchFreshness.set({ kind: "configmaps", namespace: env.POD_NAMESPACE }, config.freshnessMs() / 1000);
    working?.dispatcher.countBlockedTime();
    metrics.blocked.reset();
    for (const { queue, namespace, held } of working?.dispatcher.blocked() ?? []) metrics.blocked.set({ queue, namespace }, held);
    metrics.postLimit.set(working?.dispatcher.postLimit ?? 0);
    metrics.leader.set(!env.LEADER_ELECTION || election.isLeader() ? 1 : 0);
  });

  const lifecycle = new Lifecycle({
    services: [
      http,
      ...(traces === undefined ? [] : [traces]),
      { name: "kube-client", start: () => Promise.resolve(), stop: () => kube.close() },
      { name: "nats", start: () => Promise.resolve(), stop: () => connection.drain() },
      config,
      ...(env.LEADER_ELECTION ? [election] : work()),
      { name: "readiness", start: () => Promise.resolve(health.serve()), stop: () => Promise.resolve(health.drain()) },
    ],
    log,
    stopTimeoutMs: env.SHUTDOWN_TIMEOUT,
  });
  await runUntilSignal({ lifecycle, log });
}
