import { jobFields } from "../../libs/contract/job-fields.ts";
import { ANNOTATION, LABEL, QUEUE_PATTERN } from "../../libs/contract/names.ts";
import type { JobView } from "../../libs/contract/observation.ts";
import type { FirstSight } from "../../libs/contract/record-event.ts";
import { type MessageSource, parseAckSubject } from "../../libs/contract/source.ts";
import { validTraceparent } from "../../libs/contract/traceparent.ts";

/** Who a Job says it is. Labels and annotations can be edited by anybody who may edit Jobs, so each is checked again. */
export interface JobIdentity {
  readonly id: string;
  readonly hash: string;
  readonly queue: string;
  readonly type: string;
  readonly attempt: number;
  readonly life: number;
  readonly messageHash: string;
  readonly source: MessageSource;
  readonly ack: string;
  /** The message's own `ttlSecondsAfterFinished`. */
  readonly keepSeconds: number | undefined;
  /** The message's own `backoffLimit` + 1. */
  readonly attempts: number | undefined;
  readonly traceparent?: string | undefined;
}

/** Undefined when a part is missing or cannot be: such a Job is nobody's attempt. */
export function jobIdentity(job: JobView): JobIdentity | undefined {
  const { labels, annotations } = job;
  const id = annotations[ANNOTATION.id];
  const messageHash = annotations[ANNOTATION.messageHash];
  const ack = annotations[ANNOTATION.ack] ?? "";
  const source = parseAckSubject(ack);
  const hash = labels[LABEL.job] ?? "";
  const queue = labels[LABEL.queue] ?? "";
  const attempt = wholeNumber(labels[LABEL.attempt], 1);
  if (id === undefined || messageHash === undefined || source === undefined || attempt === undefined) return undefined;
  if (!/^[a-z2-7]{20}$/.test(hash) || !QUEUE_PATTERN.test(queue)) return undefined;
  return {
    id,
    hash,
    queue,
    type: annotations[ANNOTATION.type] ?? "",
    attempt,
    life: wholeNumber(annotations[ANNOTATION.life], 1) ?? 1,
    messageHash,
    source,
    ack,
    keepSeconds: wholeNumber(annotations[ANNOTATION.keepSeconds], 0),
    attempts: wholeNumber(annotations[ANNOTATION.attempts], 1),
    traceparent: validTraceparent(annotations[ANNOTATION.traceparent]),
  };
}

/** Who a log line is about, as far as its Job says so. */
export function loggedJob(job: JobView) {
  const { namespace, name, uid } = job;
  const identity = jobIdentity(job);
  return identity === undefined ? { namespace, job: name, uid } : jobFields({ ...identity, job });
}

function wholeNumber(text: string | undefined, least: number): number | undefined {
  const number = Number(text);
  return text !== undefined && Number.isSafeInteger(number) && number >= least ? number : undefined;
}

export function firstSightOf(identity: JobIdentity, job: JobView, at: string): FirstSight {
  const { id, hash, queue, type, attempt, life, messageHash, source, traceparent } = identity;
  const reference = { namespace: job.namespace, name: job.name, uid: job.uid };
  return { kind: "firstSight", id, hash, queue, type, attempt, life, messageHash, source, traceparent, job: reference, at };
}
