import type { WorkDecision, WorkEnd } from "../../libs/contract/work-retry.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { ClaimedWork } from "../../libs/streams/work-settler.ts";
import { attemptFields } from "./attempt.ts";
import type { Result, WorkerMetrics } from "./metrics.ts";

const EVENT: Readonly<Record<Result, string>> = {
  succeeded: "message.succeeded",
  retried: "message.retried",
  later: "message.later",
  dead: "message.dead",
  handedBack: "message.handed-back",
  lost: "message.lost",
};

/** Tells people what became of each attempt: one line and one count for each end, and never anything of the body. */
export class Ends {
  readonly #metrics: Pick<WorkerMetrics, "ended">;
  readonly #log: Log;

  constructor(options: { readonly metrics: Pick<WorkerMetrics, "ended">; readonly log: Log }) {
    this.#metrics = options.metrics;
    this.#log = options.log;
  }

  succeeded(work: ClaimedWork, attempt: number, tookMs: number): void {
    this.#tell("succeeded", "info", work, attempt, { tookMs });
  }

  failed(
    work: ClaimedWork,
    attempt: number,
    ended: WorkEnd,
    decision: WorkDecision,
    fields: Readonly<Record<string, unknown>>,
  ): void {
    const about = { ...fields, class: ended.class, reason: ended.reason };
    if (decision.kind === "dead") this.#tell("dead", "error", work, attempt, { ...about, why: decision.why });
    else {
      const result = ended.class === "later" ? "later" : "retried";
      this.#tell(result, "warn", work, attempt, { ...about, retryInMs: decision.delayMs });
    }
  }

  handedBack(work: ClaimedWork, attempt: number): void {
    this.#tell("handedBack", "info", work, attempt, {});
  }

  /** It is another worker's. */
  lost(work: ClaimedWork, attempt: number, tookMs: number): void {
    this.#tell("lost", "warn", work, attempt, { tookMs });
  }

  #tell(
    result: Result,
    level: "info" | "warn" | "error",
    { item, message }: ClaimedWork,
    attempt: number,
    fields: Readonly<Record<string, unknown>>,
  ): void {
    this.#metrics.ended(result);
    this.#log[level](EVENT[result], { ...attemptFields(item, attempt), delivery: message.delivery, ...fields });
  }
}
