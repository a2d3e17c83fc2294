import { MillraceError } from "../contract/errors.ts";
import { Lifecycle, type Service } from "./lifecycle.ts";
import type { Log } from "./log.ts";

/**
 * The work of a leader: `services` are made anew for each term, started in order, and stopped in reverse when the signal aborts.
 * @throws what the first service that could not be started threw; what was started is stopped then
 */
export async function runTerm(options: {
  readonly services: () => Promise<readonly Service[]>;
  readonly signal: AbortSignal;
  readonly stopTimeoutMs: number;
  readonly log: Log;
}): Promise<void> {
  const { signal, log, stopTimeoutMs } = options;
  const lifecycle = new Lifecycle({ services: await options.services(), log, stopTimeoutMs });
  const { promise: over, resolve } = Promise.withResolvers<void>();
  // A term that is lost while it begins must not finish beginning.
  const end = (): void => {
    lifecycle.stop().then(resolve, (error: unknown) => {
      log.error("term.not-ended", { error });
      resolve();
    });
  };
  if (signal.aborted) return;
  signal.addEventListener("abort", end, { once: true });
  try {
    await lifecycle.start();
  } catch (error) {
    signal.removeEventListener("abort", end);
    if (signal.aborted) return over;
    throw new MillraceError("TERM_FAILED", "the leader's work could not be started", { cause: error });
  }
  await over;
}
