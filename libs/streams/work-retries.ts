import { MillraceError } from "../contract/errors.ts";
import { parseAckSubject } from "../contract/source.ts";
import { STREAM } from "../contract/streams.ts";
import { nextAttempt, type WorkItem, workRetryHeaders } from "../contract/work-message.ts";
import { workAtSubject, workRunSubject } from "../contract/work-subjects.ts";
import type { Broker } from "./broker.ts";
import { SCHEDULE_HEADER, TARGET_HEADER } from "./retries.ts";
import { StreamRoom } from "./stream-room.ts";

/** What is left is for retries of what is in WORK_RETRY already: it discards what is oldest. */
const ROOM_FOR_FRESH = 0.8;

/** WORK_RETRY: what workers are to try again, due or asleep until it is. A sleeping message is nobody's lag. */
export class WorkRetries {
  readonly #broker: Broker;
  readonly #nowMs: () => number;
  readonly #room: StreamRoom;

  constructor(options: { readonly broker: Broker; readonly nowMs: () => number }) {
    this.#broker = options.broker;
    this.#nowMs = options.nowMs;
    const { broker } = options;
    this.#room = new StreamRoom({ broker, stream: STREAM.workRetry, share: ROOM_FOR_FRESH, nowMs: () => performance.now() });
  }

  /**
   * S2: the next attempt of the item, once: only if neither of its subjects holds a message (a leader's read sees unacknowledged ones). A fired
   * schedule moves from the one subject to the other, so they are read in that order.
   *
   * `mustHold` is called between the reads and the write, and throws when the item may be another's by now: that one's retry may have come and gone, and
   * neither subject would show it.
   * @throws MillraceError `RETRY_FULL` for the first retry of a message, which can stay in WORK
   */
  async publish(item: WorkItem, body: Uint8Array, delayMs: number, mustHold: () => void): Promise<void> {
    const attempt = nextAttempt(item);
    const atSubject = workAtSubject(item.worker, item.hash, attempt);
    const runSubject = workRunSubject(item.worker, item.hash, attempt);
    for (const subject of [atSubject, runSubject]) {
      if ((await this.#broker.last(STREAM.workRetry, subject)) !== undefined) return;
    }
    const isFirst = parseAckSubject(item.predecessor ?? "")?.stream === STREAM.work;
    if (isFirst && !(await this.#room.isLeft())) {
      throw new MillraceError(
        "RETRY_FULL",
        "WORK_RETRY has no room for more retries: enlarge the store, or look why so much fails",
      );
    }
    const isDue = delayMs <= 0;
    const notBefore = new Date(this.#nowMs() + (await this.#broker.clockOffsetMs()) + delayMs).toISOString();
    mustHold();
    await this.#broker.publish({
      stream: STREAM.workRetry,
      subject: isDue ? runSubject : atSubject,
      headers: {
        ...workRetryHeaders(item),
        ...(isDue ? {} : { [SCHEDULE_HEADER]: `@at ${notBefore}`, [TARGET_HEADER]: runSubject }),
      },
      body,
      expectedLastSequence: 0,
    });
  }
}
