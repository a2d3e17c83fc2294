import type { JobRecord } from "./record.ts";
import { fitted } from "./record-size.ts";

/** What an event makes of a record. */
export type Transition =
  | { readonly kind: "moved"; readonly record: JobRecord }
  /** The record already says what the event would make it say: the write happened, only its answer was lost. */
  | { readonly kind: "already"; readonly record: JobRecord }
  | { readonly kind: "refused"; readonly why: string };

export function moved(record: JobRecord): Transition {
  return { kind: "moved", record: fitted(record) };
}

export function already(record: JobRecord): Transition {
  return { kind: "already", record };
}

export function refused(why: string): Transition {
  return { kind: "refused", why };
}

export function later(at: string, delayMs: number): string {
  return new Date(Date.parse(at) + delayMs).toISOString();
}
