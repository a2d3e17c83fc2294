import {
  AckPolicy,
  type ConsumerConfig,
  DiscardPolicy,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { type DispatchConfig, retrySlotsOf } from "../contract/queue-config.ts";
import { BUCKET, bucketStream, bucketSubject, consumerName, STREAM, workConsumerName } from "../contract/streams.ts";
import { jobsFilter, retryFilter } from "../contract/subjects.ts";
import { WORK_PLACEHOLDER, workRunFilter } from "../contract/work-subjects.ts";

export interface TopologyOptions {
  readonly instance: string;
  /** How long outcomes are kept: the age limit of EVENTS, DLQ, records and logs. */
  readonly historyMs: number;
  readonly ackWaitMs: number;
  readonly replicas: number;
  /** What the server may store on disk, in bytes; the streams together take 90 % of it. */
  readonly storeBytes: number;
}

/** Shares of the store. JOBS and WORK get the largest part: they refuse publishes when they are full, the others must never be the reason. */
const SHARE = {
  jobs: 0.25,
  retry: 0.08,
  events: 0.12,
  deadLetters: 0.1,
  records: 0.12,
  logs: 0.05,
  work: 0.12,
  workRetry: 0.05,
  claims: 0.01,
} as const;

/** A 1 MiB body and its headers. */
const MAX_JOB_MESSAGE_BYTES = 1024 * 1024 + 64 * 1024;

/** The most that `workers.<name>.max` may be. */
const MAX_PODS = 10_000;

/** How long the broker knows the ids that producers and handlers publish with (`Nats-Msg-Id`). */
const DUPLICATE_WINDOW_MS = 120_000;

export type DesiredStream = Partial<StreamConfig> &
  Pick<StreamConfig, "name" | "subjects" | "retention" | "discard" | "max_bytes">;

/** The streams and buckets of design §4.3, as plain data. */
export function desiredStreams(options: TopologyOptions): DesiredStream[] {
  const { storeBytes, historyMs } = options;
  const bytes = (share: number): number => Math.floor(storeBytes * share);
  const base = {
    storage: StorageType.File,
    num_replicas: options.replicas,
    metadata: { "millrace.dev/instance": options.instance },
  };
  const history = { max_age: nanos(historyMs), allow_direct: true };
  const bucket = (name: string, share: number): DesiredStream => ({
    ...base,
    ...history,
    name: bucketStream(name),
    subjects: [bucketSubject(name, ">")],
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.New,
    max_bytes: bytes(share),
    max_msgs_per_subject: 1,
    allow_rollup_hdrs: true,
    deny_delete: true,
  });
  return [
    {
      ...base,
      name: STREAM.jobs,
      subjects: ["jobs.>"],
      retention: RetentionPolicy.Workqueue,
      discard: DiscardPolicy.New,
      max_bytes: bytes(SHARE.jobs),
      max_msg_size: MAX_JOB_MESSAGE_BYTES,
      allow_direct: true,
    },
    {
      ...base,
      name: STREAM.retry,
      subjects: ["retry.>"],
      retention: RetentionPolicy.Workqueue,
      // Schedules are refused with discard new (nats-server stream.go); the share is sized so that it never discards.
      discard: DiscardPolicy.Old,
      max_bytes: bytes(SHARE.retry),
      allow_msg_schedules: true,
    },
    {
      ...base,
      ...history,
      name: STREAM.events,
      subjects: ["events.>"],
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.Old,
      max_bytes: bytes(SHARE.events),
    },
    {
      ...base,
      ...history,
      name: STREAM.deadLetters,
      subjects: ["dlq.>"],
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.New,
      max_bytes: bytes(SHARE.deadLetters),
    },
    bucket(BUCKET.records, SHARE.records),
    { ...bucket(BUCKET.logs, SHARE.logs), discard: DiscardPolicy.Old },
    {
      ...base,
      name: STREAM.work,
      subjects: [WORK_PLACEHOLDER],
      retention: RetentionPolicy.Workqueue,
      discard: DiscardPolicy.New,
      max_bytes: bytes(SHARE.work),
      max_msg_size: MAX_JOB_MESSAGE_BYTES,
      duplicate_window: nanos(DUPLICATE_WINDOW_MS),
      allow_direct: true,
    },
    {
      ...base,
      name: STREAM.workRetry,
      subjects: ["work.at.>", "work.run.>"],
      retention: RetentionPolicy.Workqueue,
      // As RETRY.
      discard: DiscardPolicy.Old,
      max_bytes: bytes(SHARE.workRetry),
      allow_msg_schedules: true,
    },
    // A claim lives as long as its message, and what is left of one that is gone (ADR-48) for a minute.
    { ...bucket(BUCKET.claims, SHARE.claims), max_age: 0, deny_delete: false, allow_msg_ttl: true },
  ];
}

/** The subjects of WORK: those of all workers. */
export function workSubjects({ workers }: Pick<DispatchConfig, "workers">): string[] {
  return [WORK_PLACEHOLDER, ...new Set(Object.values(workers).map(({ subject }) => subject))];
}

export interface DesiredConsumer {
  readonly stream: string;
  readonly config: Partial<ConsumerConfig> & { readonly durable_name: string };
}

/**
 * Two durable pull consumers per queue, on JOBS and on RETRY, and per worker, on WORK and on WORK_RETRY. A queue's `max_ack_pending` is its slots (RETRY: its retrySlots), so the broker itself
 * holds work back. No `backoff`: it would replace `ack_wait` by its first step and override every delay of a NAK (nats-server consumer.go).
 * `max_deliver` is off: attempts are counted in the record, and a message that the broker gave up on would be invisible for ever.
 */
export function desiredConsumers(config: DispatchConfig, options: Pick<TopologyOptions, "ackWaitMs">): DesiredConsumer[] {
  const shared = { ack_policy: AckPolicy.Explicit, ack_wait: nanos(options.ackWaitMs), max_deliver: -1 };
  const ofQueues = Object.entries(config.queues).flatMap(([queue, { slots, ...rest }]) => {
    const common = { ...shared, durable_name: consumerName(queue) };
    const retrySlots = retrySlotsOf({ slots, ...rest });
    return [
      { stream: STREAM.jobs, config: { ...common, filter_subject: jobsFilter(queue), max_ack_pending: slots } },
      { stream: STREAM.retry, config: { ...common, filter_subject: retryFilter(queue), max_ack_pending: retrySlots } },
    ];
  });
  const ofWorkers = Object.entries(config.workers).flatMap(([worker, { subject }]) => {
    // What is in flight is what workers asked for, so nothing else needs to hold back.
    // Each idle pod has a request open; the default of 512 would keep further ones unready, and cannot be changed later.
    const common = { ...shared, durable_name: workConsumerName(worker), max_ack_pending: -1, max_waiting: MAX_PODS };
    return [
      { stream: STREAM.work, config: { ...common, filter_subject: subject } },
      { stream: STREAM.workRetry, config: { ...common, filter_subject: workRunFilter(worker) } },
    ];
  });
  return [...ofQueues, ...ofWorkers];
}
