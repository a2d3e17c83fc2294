import { assertNever } from "../../../libs/contract/errors.ts";
import type { JobReference } from "../../../libs/contract/record.ts";
import type { AnswerOf, ReceivedRequest } from "../../../libs/contract/requests.ts";
import type { JobActions, JobTarget } from "../../../libs/streams/job-actions.ts";
import type { JobLookup } from "./job-lookup.ts";
import { RequestRefused } from "./refused.ts";

/** Begins the Stop of an attempt that runs (rule J2); the monitor carries it on to the verdict. False when its Job is gone. */
export type BeginStop = (job: JobReference, reason: string) => Promise<boolean>;

/** Cancel and rerun (rules P1, P3). */
export class JobControl {
  readonly #lookup: JobLookup;
  readonly #actions: JobActions;
  readonly #beginStop: BeginStop;

  constructor(options: { readonly lookup: JobLookup; readonly actions: JobActions; readonly beginStop: BeginStop }) {
    this.#lookup = options.lookup;
    this.#actions = options.actions;
    this.#beginStop = options.beginStop;
  }

  /** P1: with no record the cancel is remembered for the message that is yet to be pulled, which needs one queue. */
  async cancel(request: ReceivedRequest<"cancel">): Promise<AnswerOf<"cancel">> {
    const reason = `cancelled by ${request.by ?? "somebody"}`;
    const target = await this.#cancelTarget(request);
    let outcome = await this.#actions.cancel(target, reason);
    let stopping: string | undefined;
    // An attempt that was judged right before its Stop was written goes on to a retry, which that Stop does not reach.
    while (outcome.kind === "running" && outcome.job.uid !== stopping) {
      stopping = outcome.job.uid;
      if (!(await this.#beginStop(outcome.job, reason))) {
        throw notNow(request.id, "cancelled", "its Job is gone and is being judged; look again in a minute");
      }
      outcome = await this.#actions.cancel(target, reason);
    }
    switch (outcome.kind) {
      case "cancelled":
      case "already":
        return { ok: true, kind: outcome.kind, record: outcome.record };
      case "running":
        return { ok: true, kind: "cancelling", record: outcome.record };
      case "refused":
        throw notNow(request.id, "cancelled", outcome.why);
      default:
        return assertNever(outcome);
    }
  }

  /** P3. */
  async rerun(request: ReceivedRequest<"rerun">): Promise<AnswerOf<"rerun">> {
    const found = await this.#lookup.find(request);
    if (found.kind === "unrecorded") throw unknownJob(request.id);
    const outcome = await this.#actions.rerun(found.target, `run again by ${request.by ?? "somebody"}`);
    switch (outcome.kind) {
      case "scheduled":
        return { ok: true, kind: "scheduled", record: outcome.record };
      case "unknown":
        throw unknownJob(request.id);
      case "refused":
        throw notNow(request.id, "run again", outcome.why);
      default:
        return assertNever(outcome);
    }
  }

  async #cancelTarget(request: ReceivedRequest<"cancel">): Promise<JobTarget> {
    const found = await this.#lookup.find(request);
    if (found.kind === "recorded") return found.target;
    const [only, ...others] = found.targets;
    if (only === undefined) throw new RequestRefused("ID_UNKNOWN", "no queue is configured");
    if (others.length === 0) return only;
    const names = found.targets.map(({ queue }) => queue).join(", ");
    throw new RequestRefused(
      "QUEUE_REQUIRED",
      `no job ${request.id} is recorded yet; to cancel it before it starts name its queue with --queue, one of: ${names}`,
    );
  }
}

function notNow(id: string, what: string, why: string): RequestRefused {
  return new RequestRefused("NOT_ALLOWED_NOW", `${id} cannot be ${what}: ${why}`);
}

function unknownJob(id: string): RequestRefused {
  return new RequestRefused("ID_UNKNOWN", `no job ${id} is recorded, or its record has expired; publish it again instead`);
}
