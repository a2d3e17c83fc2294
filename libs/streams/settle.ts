import { assertNever } from "../contract/errors.ts";
import type { KeptMessage } from "../contract/event.ts";
import { isTerminal, type JobRecord } from "../contract/record.ts";
import { type AttemptEnded, transition } from "../contract/transition.ts";
import type { DeadLetters } from "./dead-letters.ts";
import type { JobEvents } from "./job-events.ts";
import type { SourceMessages } from "./messages.ts";
import type { RecordStore } from "./records.ts";

export type SettleOutcome =
  | { readonly kind: "settled"; readonly record: JobRecord }
  /** The record speaks of another Job or attempt: nothing was done (invariant I5). */
  | { readonly kind: "refused"; readonly why: string };

/** What stands in the reason of a job whose bytes could not be found anywhere (rule S1). */
const BYTES_LOST = "bytes-lost: the message was found neither in its stream nor in its created event nor in the DLQ; ";

/**
 * Turns the end of an attempt into a durable outcome (rules S1–S4); dispatcher and monitor share it.
 *
 *   read the bytes → compare-and-swap the record → DLQ entry → events → acknowledge
 *
 * The swap is the only decision. Everything after it is idempotent, so whoever finds a terminal record may repeat all of it; a crash between any
 * two steps is healed by redelivery (D6), by first sight (F2) or by the sweep.
 */
export class Settler {
  readonly #records: RecordStore;
  readonly #events: JobEvents;
  readonly #deadLetters: DeadLetters;
  readonly #messages: SourceMessages;

  constructor(options: {
    readonly records: RecordStore;
    readonly events: JobEvents;
    readonly deadLetters: DeadLetters;
    readonly messages: SourceMessages;
  }) {
    this.#records = options.records;
    this.#events = options.events;
    this.#deadLetters = options.deadLetters;
    this.#messages = options.messages;
  }

  /** `ackSubject` is the reply subject that the Job carries; without one the message is deleted by sequence. */
  async settle(hash: string, event: AttemptEnded, ackSubject: string | undefined): Promise<SettleOutcome> {
    for (;;) {
      const stored = await this.#records.get(hash);
      const mayDie = event.verdict.kind === "failed" && stored !== undefined && !isTerminal(stored.record.state);
      const message = mayDie ? await this.findMessage(stored.record) : undefined;
      const moved = transition(stored?.record, mayDie && message === undefined ? withLostBytes(event) : event);
      switch (moved.kind) {
        case "refused":
          return moved;
        case "already":
          await this.finish(moved.record, ackSubject);
          return { kind: "settled", record: moved.record };
        case "moved": {
          const swap = await this.#records.swap(moved.record, stored?.revision ?? 0);
          // A lost race is read again: the winner may have written just what we wanted.
          if (swap.kind === "lost") continue;
          await this.finish(moved.record, ackSubject, message);
          return { kind: "settled", record: moved.record };
        }
        default:
          return assertNever(moved);
      }
    }
  }

  /** S2–S4 of a terminal record. The message of any other stays where it is (invariant I3). */
  async finish(record: JobRecord, ackSubject: string | undefined, message?: KeptMessage): Promise<void> {
    if (!isTerminal(record.state)) return;
    await this.repeatEffects(record, message);
    await this.#messages.remove(record.source, ackSubject);
  }

  /** S2 and S3: what a terminal record promises. Whoever acknowledges because of a record repeats these first (rule D6). */
  async repeatEffects(record: JobRecord, message?: KeptMessage): Promise<void> {
    if (!isTerminal(record.state)) return;
    if (record.state === "dead") await this.#deadLetters.dead(record, message ?? (await this.findMessage(record)));
    if (!(await this.#events.has(record, "created")))
      await this.#events.created(record, message ?? (await this.findMessage(record)));
    await this.#events.terminal(record);
  }

  /** S1: exactly one place owns the bytes; the created event is a copy. */
  async findMessage(record: JobRecord): Promise<KeptMessage | undefined> {
    return (
      (await this.#messages.read(record.source)) ??
      (await this.#events.keptMessage(record)) ??
      (await this.#deadLetters.keptMessage(record))
    );
  }
}

function withLostBytes(event: AttemptEnded): AttemptEnded {
  if (event.verdict.kind !== "failed") return event;
  return { ...event, verdict: { ...event.verdict, reason: `${BYTES_LOST}${event.verdict.reason}` } };
}
