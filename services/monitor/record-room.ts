import type { Log } from "../../libs/runtime/log.ts";
import type { RecordStore } from "../../libs/streams/records.ts";

/** From here on the oldest outcomes are forgotten: a bucket that is full could record no new job, and everything would stand still. */
const FULL = 0.85;
/** In one sweep; each is a request to the broker. */
const AT_ONCE = 500;
/** Dead jobs last: their entries in the DLQ can be replayed without a record, but their ids would be taken again. */
const STATES = ["succeeded", "cancelled", "dead"] as const;

/**
 * Keeps room for new records when there are more jobs within `history` than the bucket holds. What is forgotten is an ended job's record: its id can
 * be published again and runs again. Jobs that run or sleep are never forgotten.
 */
export class RecordRoom {
  readonly #records: Pick<RecordStore, "fill" | "forgetOldest">;
  readonly #log: Log;

  constructor(options: { readonly records: Pick<RecordStore, "fill" | "forgetOldest">; readonly log: Log }) {
    this.#records = options.records;
    this.#log = options.log;
  }

  async sweep(signal: AbortSignal, beat: () => void): Promise<void> {
    for (const state of STATES) {
      while (!signal.aborted && (await this.#records.fill()) >= FULL) {
        const forgotten = await this.#records.forgetOldest(state, AT_ONCE, signal);
        beat();
        if (forgotten === 0) break;
        const hint = "more jobs end within `history` than records fit: shorten it, or give NATS a larger store";
        this.#log.warn("records.forgotten", { state, forgotten, hint });
      }
    }
  }
}
