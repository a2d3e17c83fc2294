import { explain, type JobFacts, type Lane } from "../../../libs/contract/explain.ts";
import { jobFields } from "../../../libs/contract/job-fields.ts";
import { ANNOTATION, LABEL } from "../../../libs/contract/names.ts";
import type { JobView } from "../../../libs/contract/observation.ts";
import type { JobRecord } from "../../../libs/contract/record.ts";
import type { AnswerOf, ReceivedRequest, TimelineEntry } from "../../../libs/contract/requests.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import type { JobTarget } from "../../../libs/streams/job-actions.ts";
import type { ConsumerView, QueueConsumers } from "../../../libs/streams/queue-consumers.ts";
import type { ClusterSight } from "./cluster-sight.ts";
import type { JobLookup } from "./job-lookup.ts";
import { RequestRefused } from "./refused.ts";
import type { Timeline } from "./timeline.ts";
import type { WaitingMessages } from "./waiting-messages.ts";

const USERS_SHOWN = 3;

/** Everything known of a job, and why it stands where it stands: gathers the facts that `explain` judges. */
export class JobReport {
  readonly #lookup: JobLookup;
  readonly #timeline: Timeline;
  readonly #consumers: QueueConsumers;
  readonly #messages: WaitingMessages;
  readonly #cluster: ClusterSight;
  readonly #liveJobs: () => Iterable<JobView>;
  readonly #log: Log;

  constructor(options: {
    readonly lookup: JobLookup;
    readonly timeline: Timeline;
    readonly consumers: QueueConsumers;
    readonly messages: WaitingMessages;
    readonly cluster: ClusterSight;
    /** What this monitor watches; empty on one that does not. */
    readonly liveJobs: () => Iterable<JobView>;
    readonly log: Log;
  }) {
    this.#lookup = options.lookup;
    this.#timeline = options.timeline;
    this.#consumers = options.consumers;
    this.#messages = options.messages;
    this.#cluster = options.cluster;
    this.#liveJobs = options.liveJobs;
    this.#log = options.log;
  }

  async get(request: ReceivedRequest<"get">, signal: AbortSignal): Promise<AnswerOf<"get">> {
    const found = await this.#lookup.find(request);
    if (found.kind === "recorded") return this.#answer(found.target, found.record, undefined, signal);
    const waiting = await this.#inJobs(found.targets, signal);
    const [first, second] = waiting.filter(({ message }) => message !== undefined);
    if (second !== undefined) {
      throw new RequestRefused("ID_AMBIGUOUS", `${request.id} waits on several queues; name one with --queue`);
    }
    if (first !== undefined) return this.#answer(first.target, undefined, first.message, signal);
    const counts = waiting.map(({ target, count }) => `${count} wait on queue ${target.queue}`).join(", ");
    throw new RequestRefused(
      "ID_UNKNOWN",
      `no job ${request.id} is recorded: it was never published, was rejected (then it is in the DLQ), has expired, or was not seen yet (${counts})`,
    );
  }

  async #inJobs(targets: readonly JobTarget[], signal: AbortSignal) {
    return Promise.all(
      targets.map(async (target) => {
        const { jobs } = await this.#consumers.view(target.queue);
        const { queue, id } = target;
        const message =
          jobs === undefined ? undefined : await this.#messages.find({ queue, id, deliveredSeq: jobs.deliveredSeq, signal });
        return { target, message, count: jobs?.waiting ?? 0 };
      }),
    );
  }

  async #answer(
    target: JobTarget,
    record: JobRecord | undefined,
    message: JobFacts["message"],
    signal: AbortSignal,
  ): Promise<AnswerOf<"get">> {
    const [timeline, consumers, sight] = await Promise.all([
      this.#timeline.of(target, signal),
      this.#consumers.view(target.queue),
      this.#look(record),
    ]);
    const lane = record === undefined ? laneOf("slots", consumers.jobs) : laneOf("retrySlots", consumers.retry);
    const explanations = explain({
      at: new Date().toISOString(),
      id: target.id,
      queue: target.queue,
      configured: this.#lookup.isConfigured(target.queue),
      record,
      message,
      lane,
      running: lane !== undefined && lane.inUse >= lane.limit ? this.#longestRunning(target.queue) : [],
      blocked: blockedSince(timeline),
      ...sight,
    });
    return { ok: true, ...target, ...(record === undefined ? {} : { record }), timeline, explanations };
  }

  async #look(record: JobRecord | undefined): Promise<Pick<JobFacts, "job" | "pods">> {
    if (record?.state !== "running" || record.job === undefined) return { job: undefined, pods: [] };
    try {
      const [job, pods] = await Promise.all([this.#cluster.job(record.job), this.#cluster.pods(record.job)]);
      return { job: job?.uid === record.job.uid ? job : undefined, pods };
    } catch (error) {
      this.#log.warn("request.cluster-not-seen", { ...jobFields(record), error });
      return { job: "unknown", pods: [] };
    }
  }

  #longestRunning(queue: string): JobFacts["running"] {
    return [...this.#liveJobs()]
      .filter(({ labels }) => labels[LABEL.queue] === queue)
      .sort((a, b) => Date.parse(a.createdAt) - Date.parse(b.createdAt))
      .slice(0, USERS_SHOWN)
      .map(({ annotations, name, createdAt }) => ({ id: annotations[ANNOTATION.id] ?? name, since: createdAt }));
  }
}

function laneOf(setting: Lane["setting"], view: ConsumerView | undefined): Lane | undefined {
  return view === undefined
    ? undefined
    : { setting, inUse: view.inUse, limit: view.limit, waiting: view.waiting, pause: view.pause };
}

/** D8: what came after it ended it. */
function blockedSince(timeline: readonly TimelineEntry[]): JobFacts["blocked"] {
  const last = timeline.at(-1);
  return last?.kind === "blocked" ? { at: last.at, reason: last.reason ?? "no reason was given" } : undefined;
}
