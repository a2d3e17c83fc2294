import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { isMillraceError, MillraceError } from "../../libs/contract/errors.ts";
import type { Instance } from "../../libs/contract/names.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { pause } from "../../libs/runtime/backoff.ts";
import { readEnv } from "../../libs/runtime/env.ts";
import { connectNats, natsEnv } from "../../libs/streams/connection.ts";
import { isMissing } from "../../libs/streams/errors.ts";

/** Where the installation is: by default the chart's release in the current kube context. */
export interface Target {
  readonly server: string | undefined;
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  readonly namespace: string;
  readonly release: string;
}

/** A connection to an installation. */
export interface Session extends AsyncDisposable {
  readonly connection: NatsConnection;
}

/**
 * With `--server` or `NATS_URL` straight to NATS, else through a port-forward, which waits a while for a pod that is being started, as kubectl's
 * does. Credentials come from the same variables as a service's.
 */
export async function openSession(target: Target): Promise<Session> {
  await using cleanup = new AsyncDisposableStack();
  const url = target.server ?? process.env["NATS_URL"];
  const connection = url === undefined ? await connectThroughTunnel(target, cleanup) : await connectTo(url);
  cleanup.defer(() => connection.close());
  const owned = cleanup.move();
  return { connection, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function connectTo(url: string): Promise<NatsConnection> {
  return connectNats({ settings: { ...readEnv(natsEnv, process.env), NATS_URL: url }, name: "millrace-cli" });
}

const POD_WAIT_MS = 60_000;
const POD_RETRY_MS = 1_000;
/** What a broker that is just being started answers. */
const STARTING = new Set(["NATS_NOT_READY", "NATS_UNREACHABLE"]);

async function connectThroughTunnel(target: Target, cleanup: AsyncDisposableStack): Promise<NatsConnection> {
  // The Kubernetes client takes longer to load than most commands to run, and with an address of NATS nobody needs it.
  const { openTunnel } = await import("./port-forward.ts");
  const deadline = AbortSignal.timeout(POD_WAIT_MS);
  for (;;) {
    try {
      await using attempt = new AsyncDisposableStack();
      const tunnel = attempt.use(await openTunnel({ ...target, service: `${fullName(target.release)}-nats`, port: 4222 }));
      const connection = await connectTo(`nats://127.0.0.1:${tunnel.port}`);
      cleanup.use(attempt.move());
      return connection;
    } catch (error) {
      if (!isMillraceError(error) || !STARTING.has(error.code) || deadline.aborted) throw error;
      await pause(POD_RETRY_MS, deadline);
    }
  }
}

/** Who the installation is, which a job's hash depends on. Needs the right to look at JOBS; a request to a monitor does not. */
export async function instanceOf(connection: NatsConnection): Promise<Instance> {
  const manager = await jetstreamManager(connection);
  try {
    const info = await manager.streams.info(STREAM.jobs);
    const instance = info.config.metadata?.["millrace.dev/instance"];
    if (instance !== undefined) return instance;
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  throw new MillraceError("NOT_INSTALLED", `this NATS has no stream ${STREAM.jobs} of Millrace; is the monitor running?`);
}

/** The chart's fullname rule. */
function fullName(release: string): string {
  return release.includes("millrace") ? release : `${release}-millrace`;
}
