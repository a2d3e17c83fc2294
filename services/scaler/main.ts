import { Health } from "../../libs/runtime/health.ts";
import { HttpServer } from "../../libs/runtime/http-server.ts";
import { Lifecycle, runUntilSignal } from "../../libs/runtime/lifecycle.ts";
import { createLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { BrokerLink } from "../../libs/streams/broker-link.ts";
import { connectNats } from "../../libs/streams/connection.ts";
import { readScalerEnv } from "./env.ts";
import { ScalerServer } from "./scaler-server.ts";
import { WorkerWatches } from "./worker-watches.ts";

/** The scaler: tells KEDA which workers have work. It has no rights in Kubernetes. */
export async function runScaler(processEnv: NodeJS.ProcessEnv): Promise<void> {
  const env = readScalerEnv(processEnv);
  const log = createLog({ service: "scaler", level: env.LOG_LEVEL, pod: env.POD_NAME });
  const metrics = new Metrics("scaler");
  const health = new Health();
  const http = new HttpServer({ port: env.HTTP_SERVER_PORT, health, metrics });
  await http.start();
  const link = new BrokerLink({ onDenied: (what) => log.warn("nats.denied", { what }) });
  // Not a matter of readiness: while NATS is away it holds what it knows, and KEDA must reach it for that.
  health.mention(() => {
    const problem = link.reached.problem();
    return problem === undefined ? [] : [`${link.reached.name}: ${problem}`];
  });
  health.mention(() => link.denied());
  const connection = await connectNats({
    settings: env,
    name: `millrace-scaler ${env.POD_NAME}`,
    onUnreachable: (problem) => {
      link.failed(problem);
      log.warn("nats.unreachable", { problem });
    },
  });
  void link.follow(connection);
  const watches = await WorkerWatches.open({ connection, away: () => link.reached.problem(), metrics, log });
  const server = new ScalerServer({ port: env.GRPC_SERVER_PORT, watches, metrics, log });

  health.mustLive(link.open);
  health.mention(() => watches.holding());
  metrics.beforeScrape(() => {
    metrics.natsConnected.set(link.isUp ? 1 : 0);
    watches.measure();
  });

  const lifecycle = new Lifecycle({
    services: [
      http,
      { name: "nats", start: () => Promise.resolve(), stop: () => connection.drain() },
      watches,
      server,
      { name: "readiness", start: () => Promise.resolve(health.serve()), stop: () => Promise.resolve(health.drain()) },
    ],
    log,
    stopTimeoutMs: env.SHUTDOWN_TIMEOUT,
  });
  await runUntilSignal({ lifecycle, log });
}
