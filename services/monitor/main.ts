import type { JobView } from "../../libs/contract/observation.ts";
import { loadKubeAccess } from "../../libs/kube/access.ts";
import { KubeClient } from "../../libs/kube/client.ts";
import { DispatchConfigSource } from "../../libs/kube/dispatch-config-source.ts";
import { JobsApi } from "../../libs/kube/jobs-api.ts";
import { Health } from "../../libs/runtime/health.ts";
import { HttpServer } from "../../libs/runtime/http-server.ts";
import { Lifecycle, runUntilSignal } from "../../libs/runtime/lifecycle.ts";
import { createLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { connectNats } from "../../libs/streams/connection.ts";
import { openJobStore } from "../../libs/streams/job-store.ts";
import { Provisioner } from "../../libs/streams/provision.ts";
import { ConsumerProvisioning } from "./consumer-provisioning.ts";
import { readMonitorEnv } from "./env.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { Observer } from "./observer.ts";
import { Reconciler } from "./reconciler.ts";
import { Sweeper } from "./sweeper.ts";
import { UnroutedMessages } from "./unrouted-messages.ts";
import { WorkQueue } from "./work-queue.ts";

/** Jobs that are looked at at once; each look is a few round trips to NATS and the API server. */
const CONCURRENCY = 16;

/** The monitor: watches Jobs and pods, keeps the leases of their messages, judges and settles. */
export async function runMonitor(processEnv: NodeJS.ProcessEnv): Promise<void> {
  const env = readMonitorEnv(processEnv);
  const instance = env.MILLRACE_INSTANCE;
  const log = createLog({ service: "monitor", level: env.LOG_LEVEL, pod: env.POD_NAME });
  const metrics = new Metrics("monitor");
  const health = new Health();
  const http = new HttpServer({ port: env.HTTP_SERVER_PORT, health, metrics });
  await http.start();
  const client = new KubeClient({ access: await loadKubeAccess(processEnv) });
  const connection = await connectNats({
    settings: env,
    name: `millrace-monitor ${env.POD_NAME}`,
    onUnreachable: (problem) => log.warn("nats.unreachable", { problem }),
  });
  const provisioner = new Provisioner({
    connection,
    topology: {
      instance,
      historyMs: env.HISTORY,
      ackWaitMs: env.ACK_WAIT,
      replicas: env.STREAM_REPLICAS,
      storeBytes: env.STORE_SIZE,
    },
  });
  await provisioner.streams();
  const store = await openJobStore({ connection, instance });
  const jobs = new JobsApi({ client });
  const config = new DispatchConfigSource({ client, namespace: env.POD_NAMESPACE, configMap: env.CONFIG_MAP, log });
  const consumers = new ConsumerProvisioning({ provisioner, config, log });
  const queue = new WorkQueue({ handle: (uid) => reconciler.reconcile(uid), concurrency: CONCURRENCY, log });
  const enqueue = (uid: string): void => queue.add(uid);
  const observer = new Observer({ client, instance, namespaces: env.JOB_NAMESPACES, onJob: enqueue, log });
  const reconciler = new Reconciler({ store, observer, jobs, config: () => config.current, metrics, log });
  const leases = new LeaseKeeper({ liveJobs: live, messages: store.messages, ackWaitMs: env.ACK_WAIT, metrics });
  const unrouted = await UnroutedMessages.open({ connection, store, afterMs: env.UNKNOWN_QUEUE_AFTER, log });
  const sweeper = new Sweeper({
    records: store.records,
    observer,
    reconciler,
    unrouted,
    enqueue,
    intervalMs: env.SWEEP_INTERVAL,
    log,
  });

  function* live(): IterableIterator<JobView> {
    for (const job of observer.jobs()) if (!reconciler.isDone(job.uid)) yield job;
  }
  health.mustLive(sweeper.heartbeat);
  health.mustBeReady({ name: "broker", problem: () => (connection.isClosed() ? "the connection is closed" : undefined) });
  health.mustBeReady({ name: "config", problem: () => config.problem() });
  health.mustBeReady({ name: "consumers", problem: () => consumers.problem() });
  health.mustBeReady({ name: "watch", problem: () => observer.problem() });

  const lifecycle = new Lifecycle({
    services: [
      http,
      { name: "kube-client", start: () => Promise.resolve(), stop: () => client.close() },
      { name: "nats", start: () => Promise.resolve(), stop: () => connection.drain() },
      config,
      consumers,
      observer,
      queue,
      leases,
      sweeper,
      { name: "readiness", start: () => Promise.resolve(health.serve()), stop: () => Promise.resolve(health.drain()) },
    ],
    log,
    stopTimeoutMs: env.SHUTDOWN_TIMEOUT,
  });
  await runUntilSignal({ lifecycle, log });
}
