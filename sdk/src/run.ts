import { errorText } from "../../libs/contract/errors.ts";
import { createLog } from "../../libs/runtime/log.ts";
import { Heartbeats } from "./heartbeat/heartbeats.ts";
import { definedWorkers, type Worker } from "./worker.ts";
import { workerSettings } from "./worker-env.ts";
import { WorkerProcess } from "./worker-process.ts";

export interface RunOptions {
  /** The worker, or those of which the environment chooses one (`MILLRACE_WORKER`). */
  readonly worker: Worker | readonly Worker[];
  readonly env: NodeJS.ProcessEnv;
  /** Aborted: nothing more is taken, and what is in flight may end. */
  readonly signal: AbortSignal;
  /** Aborted: what is in flight is handed back at once. */
  readonly force?: AbortSignal;
}

/**
 * Runs a worker until the signal, and drains it. It does not end the process: a handler that does not heed its signal goes on.
 * @throws MillraceError `CONFIG_INVALID`, `NATS_TOO_OLD`, `NATS_CLOSED`, `HEARTBEAT_THREAD_MISSING`
 */
export async function runWorker({ worker: given, env, signal, force = NEVER }: RunOptions): Promise<void> {
  const { worker, settings } = workerSettings(listed(given), env);
  const log = createLog({ service: settings.name, level: settings.logLevel, pod: settings.holder.podName });
  const process = new WorkerProcess({
    worker,
    settings,
    log,
    heartbeats: (told) =>
      new Heartbeats({
        settings: settings.nats,
        worker: settings.name,
        ackWaitMs: settings.ackWaitMs,
        httpPort: settings.httpPort,
        env,
        log,
        ...told,
      }),
  });
  await process.run({ stop: signal, force });
}

/** Shells and process managers send a signal to the whole group, so one Ctrl-C can arrive twice; only a later one means force. */
const FORCE_AFTER_MS = 1_000;
const NEVER = new AbortController().signal;

/**
 * Runs a worker as this process: until SIGTERM or SIGINT, then drains and exits 0. A second signal hands back at once what is in flight, and exits 1.
 * Without an argument it is what `defineWorker` has made in this process.
 */
export async function run(worker: Worker | readonly Worker[] = definedWorkers()): Promise<never> {
  const stop = new AbortController();
  const force = new AbortController();
  let firstAtMs: number | undefined;
  const onSignal = (): void => {
    const nowMs = performance.now();
    firstAtMs ??= nowMs;
    stop.abort();
    if (nowMs - firstAtMs > FORCE_AFTER_MS) force.abort();
  };
  for (const name of ["SIGTERM", "SIGINT"]) process.on(name, onSignal);
  process.on("unhandledRejection", (error) => {
    say("process.unhandled-rejection", error);
    process.exitCode = 1;
    stop.abort();
  });
  try {
    await runWorker({ worker, env: process.env, signal: stop.signal, force: force.signal });
  } catch (error) {
    say("process.failed", error);
    process.exit(1);
  }
  process.exit(force.signal.aborted ? 1 : (process.exitCode ?? 0));
}

const listed = (worker: Worker | readonly Worker[]): readonly Worker[] => ("handler" in worker ? [worker] : worker);

function say(event: string, error: unknown): void {
  process.stderr.write(`${JSON.stringify({ level: "error", event, problem: errorText(error) })}\n`);
}
