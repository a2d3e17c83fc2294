import { assertNever } from "./errors.ts";
import type { JobRecord, JobReference } from "./record.ts";
import { awaits, isAhead } from "./transition.ts";

/** What rules D3–D6 look at: a message in JOBS is always attempt 1 of life 1; only RETRY messages say otherwise (rule N4). */
export interface MessageFacts {
  readonly messageHash: string;
  readonly attempt: number;
  readonly life: number;
}

export type DispatchRule =
  /** D4: this attempt is to be made. `follow`: the message is ahead of the record, which must follow first. */
  | { readonly rule: "D4"; readonly follow: boolean }
  /** D3: the id is taken by another body. The message goes to the DLQ, the record stays. */
  | { readonly rule: "D3" }
  /** D5: the attempt runs. The recorded Job tells whether this is a redelivery or a duplicate. */
  | { readonly rule: "D5"; readonly job: JobReference }
  /** D6: the record is past this attempt. Its effects are repeated before the message is acknowledged. */
  | { readonly rule: "D6" };

export function dispatchRule(message: MessageFacts, record: JobRecord | undefined): DispatchRule {
  if (record === undefined) return { rule: "D4", follow: false };
  // A tombstone has no hash yet: it takes the one of the first message.
  if (record.messageHash !== "" && record.messageHash !== message.messageHash) return { rule: "D3" };
  if (isAhead(message, record)) return { rule: "D4", follow: true };
  switch (record.state) {
    case "running":
      return record.attempt === message.attempt && record.life === message.life && record.job !== undefined
        ? { rule: "D5", job: record.job }
        : { rule: "D6" };
    case "retrying":
      return awaits(record, message) ? { rule: "D4", follow: false } : { rule: "D6" };
    case "succeeded":
    case "dead":
    case "cancelled":
      return { rule: "D6" };
    default:
      return assertNever(record.state);
  }
}
