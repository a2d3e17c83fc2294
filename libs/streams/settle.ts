import { assertNever } from "../contract/errors.ts";
import type { KeptMessage } from "../contract/event.ts";
import { isTerminal, type JobRecord } from "../contract/record.ts";
import type { AttemptEnded, RecordEvent } from "../contract/record-event.ts";
import { transition } from "../contract/transition.ts";
import type { DeadLetters } from "./dead-letters.ts";
import type { JobEvents } from "./job-events.ts";
import type { SourceMessages } from "./messages.ts";
import type { RecordStore, StoredRecord } from "./records.ts";
import type { Retries } from "./retries.ts";

export type SettleOutcome =
  /** `first` is false when the record already said so: the effects were repeated. */
  | { readonly kind: "settled"; readonly record: JobRecord; readonly first: boolean }
  /** The record speaks of another Job, attempt or life, or cannot go that way: nothing was done (invariant I5). */
  | { readonly kind: "refused"; readonly why: string };

export interface SettlerOptions {
  readonly records: Pick<RecordStore, "get" | "swap">;
  readonly events: Pick<JobEvents, "has" | "created" | "received" | "retrying" | "terminal" | "keptMessage">;
  readonly deadLetters: Pick<DeadLetters, "dead" | "keptMessage">;
  readonly retries: Pick<Retries, "publish" | "cancel">;
  readonly messages: Pick<SourceMessages, "read" | "remove">;
  /** Told of every life whose outcome is durable, again each time that its settling is repeated. */
  readonly onOutcome?: ((record: JobRecord) => void) | undefined;
}

/** What stands in the reason of a job whose bytes could not be found anywhere (rule S1). */
const BYTES_LOST = "bytes-lost: the message was found neither in its stream nor in its events nor in the DLQ";

/**
 * Turns what happened into a durable outcome (rules S1–S4); dispatcher, monitor and people's requests share it.
 *
 *   read the bytes → compare-and-swap the record → RETRY or DLQ → events → acknowledge
 *
 * The swap is the only decision. Everything after it is idempotent, so whoever finds a record that holds no live attempt may repeat all of it; a
 * crash between any two steps is healed by redelivery (D6), by first sight (F2) or by the sweep.
 */
export class Settler {
  readonly #options: SettlerOptions;

  constructor(options: SettlerOptions) {
    this.#options = options;
  }

  /**
   * `ackSubject` is the reply subject of the message that the event settles; without one the message is deleted by sequence. `known` is the
   * record as the caller has just read or written it: the swap tells whether it still is so, and what does not lead to a swap is read again.
   */
  async settle(hash: string, event: RecordEvent, ackSubject: string | undefined, known?: StoredRecord): Promise<SettleOutcome> {
    const { records } = this.#options;
    for (let read = known ?? (await records.get(hash)); ; read = await records.get(hash)) {
      const stored = read;
      // The bytes are looked for before the decision: a retry without them could not be made.
      const fails = event.kind === "attemptEnded" && event.verdict.kind === "failed" && stored?.record.state === "running";
      const message = fails ? await this.findMessage(stored.record) : undefined;
      const moved = transition(stored?.record, fails && message === undefined ? withLostBytes(event) : event);
      // Only a swap shows that the record still is what the caller knew.
      if (moved.kind !== "moved" && stored !== undefined && stored === known) continue;
      switch (moved.kind) {
        case "refused":
          return moved;
        case "already":
          await this.finish(moved.record, ackSubject);
          return { kind: "settled", record: moved.record, first: false };
        case "moved": {
          const swap = await records.swap(moved.record, stored?.revision ?? 0);
          // A lost race is read again: the winner may have written just what we wanted.
          if (swap.kind === "lost") continue;
          await this.finish(moved.record, ackSubject, message);
          return { kind: "settled", record: moved.record, first: true };
        }
        default:
          return assertNever(moved);
      }
    }
  }

  /** S2–S4 of a record that holds no live attempt. The message of a running one stays where it is (invariant I3). */
  async finish(record: JobRecord, ackSubject: string | undefined, message?: KeptMessage): Promise<void> {
    if (record.state === "running") return;
    await this.repeatEffects(record, message);
    if (record.source !== undefined) await this.#options.messages.remove(record.source, ackSubject);
    if (isTerminal(record.state)) this.#options.onOutcome?.(record);
  }

  /** S2 and S3: what a settled record promises. Whoever acknowledges because of a record repeats these first (rule D6). */
  async repeatEffects(record: JobRecord, message?: KeptMessage): Promise<void> {
    const { events, deadLetters, retries } = this.#options;
    if (record.state === "running") return;
    let reading: Promise<KeptMessage | undefined> | undefined;
    const bytes = (): Promise<KeptMessage | undefined> => {
      reading ??= message === undefined ? this.findMessage(record) : Promise.resolve(message);
      return reading;
    };
    if (record.job === undefined || record.attempt < record.budgetFrom) await this.#keepUntried(record, bytes);
    else if (!(await events.has(record, "created"))) await events.created(record, await bytes());
    switch (record.state) {
      case "retrying": {
        const found = await bytes();
        if (found !== undefined) await retries.publish(record, found);
        if (record.attempt >= record.budgetFrom) await events.retrying(record);
        return;
      }
      case "dead":
        await deadLetters.dead(record, await bytes());
        return events.terminal(record);
      case "cancelled":
        // The sleeping message goes last: until then it fires, and rule D6 repeats what was cut off here.
        await events.terminal(record);
        return retries.cancel(record.hash, record.attempt);
      case "succeeded":
        return events.terminal(record);
      default:
        return assertNever(record.state);
    }
  }

  /** No attempt of this life was made, so no `created` event keeps the bytes. A tombstone has none yet. */
  async #keepUntried(record: JobRecord, bytes: () => Promise<KeptMessage | undefined>): Promise<void> {
    if (record.source === undefined || record.attempt > record.budgetFrom) return;
    const message = await bytes();
    if (message !== undefined) await this.#options.events.received(record, message);
  }

  /** S1: exactly one place owns the bytes; what events keep is a copy. */
  async findMessage(record: JobRecord): Promise<KeptMessage | undefined> {
    const { messages, events, deadLetters } = this.#options;
    return (
      (record.source === undefined ? undefined : await messages.read(record.source)) ??
      (await events.keptMessage(record)) ??
      (await deadLetters.keptMessage(record))
    );
  }
}

function withLostBytes(event: AttemptEnded): AttemptEnded {
  return { ...event, policy: { ...event.policy, final: BYTES_LOST } };
}
