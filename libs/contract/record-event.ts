import type { JobReference, MemoryLimits } from "./record.ts";
import type { RetryPolicy } from "./retry.ts";
import type { MessageSource } from "./source.ts";
import type { Ended } from "./verdict.ts";

/** Which job a record is about, and which of its attempts an event is. */
export interface AttemptOf {
  readonly id: string;
  readonly hash: string;
  readonly queue: string;
  readonly type: string;
  readonly messageHash: string;
  readonly source: MessageSource;
  readonly attempt: number;
  readonly life: number;
  /** What its message came with, or what was begun for it. */
  readonly traceparent?: string | undefined;
}

/** A Job of ours was seen for the first time (rules F1, F5). */
export interface FirstSight extends AttemptOf {
  readonly kind: "firstSight";
  readonly job: JobReference;
  readonly at: string;
}

/** The recorded attempt ended (rule J1). The same policy as for the decision: `random` makes it differ only in the pause. */
export interface AttemptEnded {
  readonly kind: "attemptEnded";
  readonly attempt: number;
  readonly uid: string;
  readonly verdict: Ended;
  readonly policy: RetryPolicy;
  readonly at: string;
}

/** A message is put to sleep before it could be tried: its `runAt`, or a cluster that has been saying no for too long (rules D8, D10). */
export interface Delayed extends AttemptOf {
  readonly kind: "delayed";
  readonly notBefore: string;
  readonly memory: MemoryLimits | undefined;
  readonly why: string;
  /** How often this message was refused while others were accepted. */
  readonly refused: number;
  readonly at: string;
}

/** The awaited attempt can never be made (rule D7), or its queue is gone. */
export interface Refused {
  readonly kind: "refused";
  readonly attempt: number;
  readonly life: number;
  readonly source: MessageSource;
  readonly reason: string;
  readonly at: string;
}

/** P1. A running attempt is cancelled by its verdict, after the Stop. */
export interface Cancelled {
  readonly kind: "cancelled";
  readonly id: string;
  readonly hash: string;
  readonly queue: string;
  readonly reason: string;
  readonly at: string;
}

/** The first message of an id that was cancelled before any was pulled. */
export interface Adopted {
  readonly kind: "adopted";
  readonly type: string;
  readonly traceparent?: string | undefined;
  readonly messageHash: string;
  readonly source: MessageSource;
  readonly at: string;
}

/** P2, P3: a person asks for another life of a job that has ended. */
export interface StartedAgain {
  readonly kind: "startedAgain";
  readonly reason: string;
  readonly at: string;
}

/** D4, J5: a RETRY message is ahead of the record, which was restored from older data; the record follows. */
export interface Followed extends AttemptOf {
  readonly kind: "followed";
  readonly memory: MemoryLimits | undefined;
  readonly at: string;
}

/** J5: EVENTS tell how the job ended, though the record, restored from older data, has it running. */
export interface OutcomeSeen {
  readonly kind: "outcomeSeen";
  readonly attempt: number;
  readonly state: "succeeded" | "dead" | "cancelled";
  /** Of that attempt, as its events name it: what is repeated is then seen to be there already (rule S3). */
  readonly job: JobReference | undefined;
  readonly at: string;
}

export type RecordEvent =
  | FirstSight
  | AttemptEnded
  | Delayed
  | Refused
  | Cancelled
  | Adopted
  | StartedAgain
  | Followed
  | OutcomeSeen;
