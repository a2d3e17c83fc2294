import type { JobRecord } from "./record.ts";
import { awaits, isAhead } from "./transition.ts";

/** The identity that a Job of ours carries. */
export interface SeenJob {
  readonly uid: string;
  readonly attempt: number;
  readonly life: number;
  readonly messageHash: string;
  readonly finished: boolean;
}

export type FirstSightRule =
  /** F1: record it as running. F5, where the record is older than the Job (restored data), is the same write. */
  | "F1"
  /** The record already speaks of this Job: judge it. */
  | "known"
  /** F2: its settling was cut off; finish it. */
  | "F2"
  /** F3: an older attempt that is over: evidence, left until its ttl. */
  | "F3"
  /** F4: a live Job that no record wants: removed, its message never acknowledged. */
  | "F4";

export function firstSightRule(job: SeenJob, record: JobRecord | undefined): FirstSightRule {
  if (record === undefined) return "F1";
  if (record.job?.uid === job.uid) return record.state === "running" ? "known" : "F2";
  if (record.messageHash === job.messageHash && (awaits(record, job) || isAhead(job, record))) return "F1";
  return job.finished ? "F3" : "F4";
}
