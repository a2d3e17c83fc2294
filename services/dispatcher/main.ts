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
import { Admission } from "./admission.ts";
import { Dispatcher } from "./dispatcher.ts";
import { readDispatcherEnv } from "./env.ts";
import { PullLoops } from "./pull-loop.ts";

/** The dispatcher: JOBS → Kubernetes Job. */
export async function runDispatcher(processEnv: NodeJS.ProcessEnv): Promise<void> {
  const env = readDispatcherEnv(processEnv);
  const instance = env.MILLRACE_INSTANCE;
  const log = createLog({ service: "dispatcher", level: env.LOG_LEVEL, pod: env.POD_NAME });
  const metrics = new Metrics("dispatcher");
  const health = new Health();
  const http = new HttpServer({ port: env.HTTP_SERVER_PORT, health, metrics });
  await http.start();
  const kube = new KubeClient({ access: await loadKubeAccess(processEnv) });
  const connection = await connectNats({
    settings: env,
    name: `millrace-dispatcher ${env.POD_NAME}`,
    onUnreachable: (problem) => log.warn("nats.unreachable", { problem }),
  });
  const store = await openJobStore({ connection, instance });
  const config = new DispatchConfigSource({ client: kube, namespace: env.POD_NAMESPACE, configMap: env.CONFIG_MAP, log });
  const admission = new Admission({ config: () => config.current, jobsNamespace: env.JOBS_NAMESPACE });
  const dispatcher = new Dispatcher({ ...store, instance, admission, jobs: new JobsApi({ client: kube }), metrics, log });
  const loops = new PullLoops({ connection, config, dispatcher, log });

  health.mustBeReady({ name: "broker", problem: () => (connection.isClosed() ? "the connection is closed" : undefined) });
  health.mustBeReady({ name: "config", problem: () => config.problem() });
  health.mustBeReady({ name: "pull", problem: () => loops.problem() });

  const lifecycle = new Lifecycle({
    services: [
      http,
      { name: "kube-client", start: () => Promise.resolve(), stop: () => kube.close() },
      { name: "nats", start: () => Promise.resolve(), stop: () => connection.drain() },
      config,
      loops,
      { name: "readiness", start: () => Promise.resolve(health.serve()), stop: () => Promise.resolve(health.drain()) },
    ],
    log,
    stopTimeoutMs: env.SHUTDOWN_TIMEOUT,
  });
  await runUntilSignal({ lifecycle, log });
}
