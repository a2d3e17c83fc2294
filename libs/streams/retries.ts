import type { KeptMessage } from "../contract/event.ts";
import { attemptSource, SOURCE_HEADER } from "../contract/event.ts";
import type { JobRecord } from "../contract/record.ts";
import { retryHeaders } from "../contract/retry-message.ts";
import { type MessageSource, sameSource } from "../contract/source.ts";
import { STREAM } from "../contract/streams.ts";
import { retryAtSubject, retryRunSubject } from "../contract/subjects.ts";
import type { Broker } from "./broker.ts";
import { StreamRoom } from "./stream-room.ts";

/** ADR-51: the broker publishes the message under the target when the time has come. The target must be in the same stream. */
export const SCHEDULE_HEADER = "Nats-Schedule";
export const TARGET_HEADER = "Nats-Schedule-Target";

/** Retries of jobs that ran are never kept out; what only waits for the cluster may fill RETRY up to here, for it discards what is old. */
const ROOM_FOR_WAITING = 0.25;

/** RETRY: attempts that are due or sleep until they are. A sleeping one holds no slot, no acknowledgement and no worker. */
export class Retries {
  readonly #broker: Broker;
  readonly #nowMs: () => number;
  readonly #room: StreamRoom;

  constructor(options: { readonly broker: Broker; readonly nowMs: () => number }) {
    this.#broker = options.broker;
    this.#nowMs = options.nowMs;
    this.#room = new StreamRoom({ ...options, stream: STREAM.retry, share: ROOM_FOR_WAITING });
  }

  /**
   * S2: the retry that the record awaits, once: only if neither of its subjects holds a message (a leader's read sees unacknowledged ones).
   * The one exception is the message that the record itself came from: a due retry that goes back to sleep (rule D8), and whose own message is
   * removed afterwards. A fired schedule moves from the one subject to the other, so they are read in that order.
   */
  async publish(record: JobRecord, message: KeptMessage): Promise<void> {
    const { next, source } = record;
    if (next === undefined) return;
    const runSubject = retryRunSubject(record.queue, record.hash, next.attempt);
    const atSubject = retryAtSubject(record.hash, next.attempt);
    if ((await this.#broker.last(STREAM.retry, atSubject)) !== undefined) return;
    const due = await this.#broker.last(STREAM.retry, runSubject);
    if (due !== undefined && (source === undefined || !sameSource(due, source))) return;
    const offsetMs = await this.#broker.clockOffsetMs();
    const notBeforeMs = Date.parse(next.notBefore) + offsetMs;
    const isDue = notBeforeMs <= this.#nowMs() + offsetMs;
    await this.#broker.publish({
      stream: STREAM.retry,
      subject: isDue ? runSubject : atSubject,
      headers: {
        ...retryHeaders(record, next, message),
        [SOURCE_HEADER]: attemptSource(record),
        ...(isDue ? {} : { [SCHEDULE_HEADER]: `@at ${new Date(notBeforeMs).toISOString()}`, [TARGET_HEADER]: runSubject }),
      },
      body: Buffer.from(message.bodyBase64, "base64"),
      expectedLastSequence: isDue ? (due?.seq ?? 0) : 0,
    });
  }

  /** Whether messages that could stay in JOBS may be moved here. */
  hasRoom(): Promise<boolean> {
    return this.#room.isLeft();
  }

  /** Whether the attempt waits here, due or asleep. */
  async holds(record: Pick<JobRecord, "queue" | "hash">, attempt: number): Promise<boolean> {
    for (const subject of [retryAtSubject(record.hash, attempt), retryRunSubject(record.queue, record.hash, attempt)]) {
      if ((await this.#broker.last(STREAM.retry, subject)) !== undefined) return true;
    }
    return false;
  }

  /** The message that waits for the attempt, a due one first. One that fires meanwhile is seen in one place at least. */
  async waiting(record: Pick<JobRecord, "queue" | "hash">, attempt: number): Promise<MessageSource | undefined> {
    const asleep = await this.#broker.last(STREAM.retry, retryAtSubject(record.hash, attempt));
    const due = await this.#broker.last(STREAM.retry, retryRunSubject(record.queue, record.hash, attempt));
    const found = due ?? asleep;
    return found === undefined ? undefined : { stream: STREAM.retry, seq: found.seq, storedAt: found.storedAt };
  }

  /** P1: a sleeping retry is taken back; a due one is acknowledged when it is pulled (rule D6). */
  async cancel(hash: string, attempt: number): Promise<void> {
    await this.#broker.purge(STREAM.retry, retryAtSubject(hash, attempt));
  }
}
