import { errorText } from "../../libs/contract/errors.ts";
import { ANNOTATION } from "../../libs/contract/names.ts";
import type { JobView } from "../../libs/contract/observation.ts";
import type { QueueConfig } from "../../libs/contract/queue-config.ts";
import type { JobsApi } from "../../libs/kube/jobs-api.ts";
import type { Log } from "../../libs/runtime/log.ts";
import { jobIdentity, loggedJob } from "./job-identity.ts";

/** The TTL controller comes first, where it runs and is not behind. */
const GRACE_MS = 300_000;

/** Settled Jobs past their `keep` (rule S5): nothing piles up in etcd, also on a cluster whose TTL controller does not do its work. */
export class ExpiredJobs {
  readonly #liveJobs: () => Iterable<JobView>;
  readonly #jobs: Pick<JobsApi, "delete">;
  readonly #queues: () => Readonly<Record<string, Pick<QueueConfig, "keep">>>;
  readonly #nowMs: () => number;
  readonly #log: Log;

  constructor(options: {
    readonly jobs: () => Iterable<JobView>;
    readonly api: Pick<JobsApi, "delete">;
    readonly queues: () => Readonly<Record<string, Pick<QueueConfig, "keep">>>;
    readonly nowMs: () => number;
    readonly log: Log;
  }) {
    this.#liveJobs = options.jobs;
    this.#jobs = options.api;
    this.#queues = options.queues;
    this.#nowMs = options.nowMs;
    this.#log = options.log;
  }

  async sweep(signal: AbortSignal, beat: () => void): Promise<void> {
    for (const job of this.#liveJobs()) {
      if (signal.aborted) return;
      if (!this.#isExpired(job)) continue;
      const { namespace, name, uid } = job;
      try {
        await this.#jobs.delete(namespace, name, uid);
        this.#log.info("job.expired", loggedJob(job));
      } catch (error) {
        // A namespace in which nothing may be deleted keeps none of the others full.
        this.#log.warn("job.not-expired", { ...loggedJob(job), problem: errorText(error) });
      }
      beat();
    }
  }

  #isExpired(job: JobView): boolean {
    const endedAt = job.completedAt ?? job.failed?.at;
    if (endedAt === undefined || job.deleting || job.annotations[ANNOTATION.settled] === undefined) return false;
    const identity = jobIdentity(job);
    const keep = identity === undefined ? undefined : this.#queues()[identity.queue]?.keep;
    // Of a queue that was removed nobody knows any more how long: its ttl says it to the TTL controller.
    if (identity === undefined || keep === undefined) return false;
    const keepMs = identity.keepSeconds === undefined ? Math.max(keep.succeeded, keep.failed) : identity.keepSeconds * 1000;
    return Date.parse(endedAt) + keepMs + GRACE_MS < this.#nowMs();
  }
}
