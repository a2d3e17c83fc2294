import { assertNever } from "./errors.ts";
import type { JobRecord, JobReference } from "./record.ts";

/** What rule D3–D6 look at: a message in JOBS is always attempt 1 of life 1; only RETRY messages say otherwise (rule N4). */
export interface MessageFacts {
  readonly messageHash: string;
  readonly attempt: number;
  readonly life: number;
}

export type DispatchRule =
  /** D4: nothing is known of this attempt yet. */
  | { readonly rule: "D4"; readonly attempt: number }
  /** D3: the id is taken by another body. The message goes to the DLQ, the record stays. */
  | { readonly rule: "D3" }
  /** D5: the attempt runs. The recorded Job tells whether this is a redelivery or a duplicate. */
  | { readonly rule: "D5"; readonly job: JobReference }
  /** D6: the record is past this attempt. Its effects are repeated before the message is acknowledged. */
  | { readonly rule: "D6" };

export function dispatchRule(message: MessageFacts, record: JobRecord | undefined): DispatchRule {
  if (record === undefined) return { rule: "D4", attempt: message.attempt };
  if (record.messageHash !== message.messageHash) return { rule: "D3" };
  switch (record.state) {
    case "running":
      return record.attempt === message.attempt && record.job !== undefined ? { rule: "D5", job: record.job } : { rule: "D6" };
    case "retrying":
      return record.next?.attempt === message.attempt && record.life === message.life
        ? { rule: "D4", attempt: message.attempt }
        : { rule: "D6" };
    case "succeeded":
    case "dead":
    case "cancelled":
      return { rule: "D6" };
    default:
      return assertNever(record.state);
  }
}
