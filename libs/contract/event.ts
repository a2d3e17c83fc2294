import { tracedBy } from "./job-trace.ts";
import type { JobRecord } from "./record.ts";
import { currentAttempt } from "./record.ts";
import { type MessageSource, sourceKey } from "./source.ts";

/** What an event says happened. `received`: a message of which no attempt is made yet, because it sleeps or was cancelled. `rejected` belongs to a message that never became a job (rule D11). */
export const EVENT_KINDS = [
  "created",
  "started",
  "received",
  "blocked",
  "retrying",
  "succeeded",
  "dead",
  "cancelled",
  "duplicate",
  "rejected",
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

/** Who caused an entry: a Job's uid, or a message's source. An entry under the same subject with the same source is the same entry (rule S3). */
export const SOURCE_HEADER = "Millrace-Source";

/** The message as it was published, kept by the `created` event so that a job can be run again after its message is gone. */
export interface KeptMessage {
  readonly subject: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly bodyBase64: string;
}

/** CloudEvents 1.0, JSON format, structured mode. */
export interface JobEvent {
  readonly specversion: "1.0";
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject: string;
  readonly time: string;
  readonly datacontenttype: "application/json";
  /** Of CloudEvents' extension for distributed tracing: the trace that the job belongs to. */
  readonly traceparent?: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export function jobEvent(options: {
  readonly instance: string;
  readonly kind: EventKind;
  readonly key: string;
  readonly subject: string;
  readonly at: string;
  readonly traceparent?: string | undefined;
  readonly data: Readonly<Record<string, unknown>>;
}): JobEvent {
  return {
    specversion: "1.0",
    id: `${options.key}.${options.kind}`,
    source: `/millrace/${options.instance}`,
    type: `dev.millrace.job.${options.kind}`,
    subject: options.subject,
    time: options.at,
    datacontenttype: "application/json",
    ...tracedBy(options),
    data: options.data,
  };
}

/** The facts that every event of an attempt carries. */
export function attemptData(record: JobRecord): Record<string, unknown> {
  const attempt = currentAttempt(record);
  return {
    id: record.id,
    hash: record.hash,
    queue: record.queue,
    type: record.type,
    attempt: record.attempt,
    life: record.life,
    job: record.job,
    ...(attempt?.node === undefined ? {} : { node: attempt.node }),
    ...(attempt?.startedAt === undefined ? {} : { startedAt: attempt.startedAt }),
    ...(attempt?.endedAt === undefined ? {} : { endedAt: attempt.endedAt }),
    ...(attempt?.class === undefined ? {} : { class: attempt.class }),
    ...(attempt?.exitCode === undefined ? {} : { exitCode: attempt.exitCode }),
    ...(record.reason === undefined ? {} : { reason: record.reason }),
    ...(record.state === "retrying" ? { next: record.next } : {}),
  };
}

/** Who causes the events and the dead letter of the record's attempt. Attempt 0 is a tombstone's, which takes its message only later. */
export function attemptSource(record: JobRecord): string {
  if (record.job !== undefined) return record.job.uid;
  return record.source === undefined || record.attempt === 0 ? `life-${record.life}` : sourceKey(record.source);
}

export function duplicateData(
  record: { readonly id: string; readonly hash: string; readonly attempt: number },
  duplicate: MessageSource,
) {
  return { id: record.id, hash: record.hash, attempt: record.attempt, duplicate };
}
