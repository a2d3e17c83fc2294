import { ANNOTATION, LABEL, QUEUE_PATTERN } from "../../libs/contract/names.ts";
import type { JobView } from "../../libs/contract/observation.ts";
import { type MessageSource, parseAckSubject } from "../../libs/contract/source.ts";
import type { FirstSight } from "../../libs/contract/transition.ts";

/** Who a Job says it is. Labels and annotations can be edited by anybody who may edit Jobs, so each is checked again. */
export interface JobIdentity {
  readonly id: string;
  readonly hash: string;
  readonly queue: string;
  readonly type: string;
  readonly attempt: number;
  readonly messageHash: string;
  readonly source: MessageSource;
  readonly ack: string;
  /** The message's own `ttlSecondsAfterFinished`. */
  readonly keepSeconds: number | undefined;
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
  const attempt = Number(labels[LABEL.attempt]);
  const keepSeconds = Number(annotations[ANNOTATION.keepSeconds] ?? Number.NaN);
  if (id === undefined || messageHash === undefined || source === undefined) return undefined;
  if (!/^[a-z2-7]{20}$/.test(hash) || !QUEUE_PATTERN.test(queue) || !Number.isInteger(attempt) || attempt < 1) return undefined;
  return {
    id,
    hash,
    queue,
    type: annotations[ANNOTATION.type] ?? "",
    attempt,
    messageHash,
    source,
    ack,
    keepSeconds: Number.isInteger(keepSeconds) && keepSeconds >= 0 ? keepSeconds : undefined,
  };
}

export function firstSightOf(identity: JobIdentity, job: JobView, at: string): FirstSight {
  const { id, hash, queue, type, attempt, messageHash, source } = identity;
  return {
    kind: "firstSight",
    id,
    hash,
    queue,
    type,
    attempt,
    messageHash,
    source,
    job: { namespace: job.namespace, name: job.name, uid: job.uid },
    at,
  };
}
