import { errorText, MillraceError } from "../contract/errors.ts";
import type { Log } from "./log.ts";

/**
 * Something that runs until it is told to stop. `start` resolves once it serves; `stop` drains, may be called without a start and
 * more than once, and resolves when nothing of it runs any more.
 */
export interface Service {
  readonly name: string;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts services in order and stops them in reverse.
 *
 *   new → starting → running → stopping → stopped        (a failed start stops what was started)
 *
 * A service that does not stop within the budget is named in the error, so that an overrun says what hung.
 */
export class Lifecycle {
  readonly #services: readonly Service[];
  readonly #log: Log;
  readonly #stopTimeoutMs: number;
  #started: Service[] = [];
  #stopping: Promise<void> | undefined;

  constructor(options: { readonly services: readonly Service[]; readonly log: Log; readonly stopTimeoutMs: number }) {
    this.#services = options.services;
    this.#log = options.log;
    this.#stopTimeoutMs = options.stopTimeoutMs;
  }

  async start(): Promise<void> {
    for (const service of this.#services) {
      // Whatever started after `stop` had gone by would never be stopped.
      if (this.#stopping !== undefined) throw new MillraceError("START_CANCELLED", `stopped before ${service.name} was started`);
      this.#started.push(service);
      try {
        await service.start();
      } catch (error) {
        await this.stop().catch((stopError: unknown) => this.#log.error("lifecycle.stop-failed", { error: stopError }));
        throw new MillraceError("START_FAILED", `${service.name} could not start: ${errorText(error)}`, { cause: error });
      }
      this.#log.debug("lifecycle.started", { name: service.name });
    }
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<void> {
    const deadline = AbortSignal.timeout(this.#stopTimeoutMs);
    const problems: unknown[] = [];
    // One that fails does not keep the others from being stopped; the first problem is the cause of the rest.
    for (const service of this.#started.reverse()) {
      await withDeadline(service, deadline).catch((problem: unknown) => problems.push(problem));
    }
    this.#started = [];
    if (problems.length > 0) throw problems[0];
  }
}

async function withDeadline(service: Service, deadline: AbortSignal): Promise<void> {
  const { promise: overrun, reject } = Promise.withResolvers<never>();
  const expire = (): void =>
    reject(new MillraceError("STOP_TIMEOUT", `${service.name} did not stop in time; work in flight was cut off`));
  if (deadline.aborted) expire();
  deadline.addEventListener("abort", expire, { once: true });
  try {
    await Promise.race([service.stop(), overrun]);
  } finally {
    deadline.removeEventListener("abort", expire);
  }
}

/** Shells and process managers send a signal to the whole group, so one Ctrl-C can arrive twice; only a later one means force. */
const FORCE_AFTER_MS = 5_000;

/**
 * For a process that has nothing to drain yet, because it still waits for its broker: as the first of its container it would ignore a signal
 * that it does not listen for, and be killed at the end of the grace period. `runUntilSignal` takes over from it.
 */
export function exitOnSignal(): void {
  process.on("SIGTERM", exitNow);
  process.on("SIGINT", exitNow);
}

function exitNow(): never {
  process.exit(0);
}

/**
 * Runs services until SIGTERM or SIGINT, then drains. A second signal, five seconds later or more, exits at once.
 * An unhandled rejection is a bug of ours: it is logged, and the process drains and exits 1 for its supervisor to start it afresh.
 */
export async function runUntilSignal(options: { readonly lifecycle: Lifecycle; readonly log: Log }): Promise<void> {
  const { lifecycle, log } = options;
  const { promise: stopped, resolve } = Promise.withResolvers<string>();
  let firstSignalAtMs: number | undefined;
  const onSignal = (signal: string): void => {
    const nowMs = performance.now();
    if (firstSignalAtMs === undefined) {
      firstSignalAtMs = nowMs;
      resolve(signal);
    } else if (nowMs - firstSignalAtMs > FORCE_AFTER_MS) {
      log.warn("process.forced", { signal });
      process.exit(1);
    }
  };
  for (const name of ["SIGTERM", "SIGINT"]) process.on(name, onSignal).off(name, exitNow);
  process.on("unhandledRejection", (error) => {
    log.error("process.unhandled-rejection", { error });
    process.exitCode = 1;
    resolve("unhandledRejection");
  });
  // A signal during a start that waits for something (a broker, a ConfigMap) must not be kept waiting with it.
  await Promise.race([lifecycle.start().then(() => log.info("process.ready")), stopped]);
  log.info("process.stopping", { reason: await stopped });
  await lifecycle.stop();
  log.info("process.stopped");
}
