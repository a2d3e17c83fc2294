import { errorText, isMillraceError, MillraceError } from "../../libs/contract/errors.ts";
import { Backoff, pause } from "../../libs/runtime/backoff.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { ClaimedWork } from "../../libs/streams/work-settler.ts";
import type { WorkerMetrics } from "./metrics.ts";

/** Nothing but time makes room in a stream, and the slot may be for what makes it. */
const FULL = ["RETRY_FULL", "DLQ_FULL"];
/** The part of ack_wait for which anything else may fail before the message is set aside. */
const PATIENCE_SHARE = 0.5;

export interface TellingOptions {
  readonly ackWaitMs: number;
  /** Nothing is asked of a broker that is away: each question would be waited for, for seconds after it is there again. */
  readonly isConnected: () => boolean;
  /** The process ends, and whatever is not told yet is found out by others. */
  readonly givenUp: AbortSignal;
  readonly metrics: Pick<WorkerMetrics, "settleFailed">;
  readonly log: Log;
}

/** Tells the broker what it must know, as often as it takes: NATS may be away, have no quorum, or be full. */
export class Telling {
  readonly #options: TellingOptions;

  constructor(options: TellingOptions) {
    this.#options = options;
  }

  /**
   * Repeats the step until it was done. False: it was not, because the process ends, or because the message was set aside.
   *
   * `setAside`: leaves the message to whoever is given it next; false when that failed, too. Only a step that another worker may do as well is given it:
   * one message that cannot be settled would take a slot of every worker in turn, each for as long as the trouble lasts.
   */
  async tell({ item }: ClaimedWork, step: () => Promise<void>, setAside?: () => Promise<boolean>): Promise<boolean> {
    const { isConnected, givenUp, metrics, log } = this.#options;
    const backoff = new Backoff({ initialMs: 50, maxMs: 1_000 });
    let failingSinceMs: number | undefined;
    for (let tries = 1; ; tries += 1) {
      try {
        if (!isConnected()) throw new MillraceError("NATS_UNREACHABLE", "NATS is away");
        await step();
        return true;
      } catch (error) {
        metrics.settleFailed();
        const about = { id: item.id, worker: item.worker, problem: errorText(error) };
        // Of one that goes on for long, once in a while.
        log[tries % 60 === 1 ? "warn" : "debug"]("message.unsettled", about);
        if (givenUp.aborted) return false;
        failingSinceMs = isConnected() ? (failingSinceMs ?? performance.now()) : undefined;
        if (setAside !== undefined && this.#isEnough(error, failingSinceMs) && (await setAside())) {
          log.warn("message.set-aside", about);
          return false;
        }
        await pause(backoff.nextMs(), givenUp);
      }
    }
  }

  #isEnough(error: unknown, failingSinceMs: number | undefined): boolean {
    if (isMillraceError(error) && FULL.includes(error.code)) return true;
    const patienceMs = this.#options.ackWaitMs * PATIENCE_SHARE;
    return failingSinceMs !== undefined && performance.now() - failingSinceMs > patienceMs;
  }
}
