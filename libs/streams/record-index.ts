import { DeliverPolicy, type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { QUEUE_HEADER, STATE_HEADER } from "../contract/record.ts";
import { BUCKET, bucketStream, bucketSubject } from "../contract/streams.ts";

/** What the headers of a record tell. */
export interface IndexEntry {
  readonly hash: string;
  readonly state: string;
  readonly queue: string;
  readonly changedAtMs: number;
}

const FIRST_WINDOW = 4_000;
const WINDOW_GROWTH = 4;
const LARGEST_WINDOW = 256_000;
const SILENCE_MS = 5_000;
const PREFETCH = 20_000;

/** Reads the records' headers without their bodies, latest change first, so that a short answer costs little however many records there are. */
export class RecordIndex {
  readonly #client: JetStreamClient;
  readonly #manager: JetStreamManager;
  readonly #stream = bucketStream(BUCKET.records);

  private constructor(client: JetStreamClient, manager: JetStreamManager) {
    this.#client = client;
    this.#manager = manager;
  }

  static async open(connection: NatsConnection): Promise<RecordIndex> {
    return new RecordIndex(jetstream(connection), await jetstreamManager(connection));
  }

  /**
   * Windows of the bucket from its end to its beginning, each latest first and larger than the one before. The bucket keeps one message per
   * key, so every entry is a record's last. One that changes while this reads moves to the end and may be missed.
   */
  async *latestFirst(signal: AbortSignal): AsyncGenerator<readonly IndexEntry[]> {
    const { state } = await this.#manager.streams.info(this.#stream);
    let last = state.messages === 0 ? 0 : state.last_seq;
    let size = FIRST_WINDOW;
    while (last >= state.first_seq && last > 0 && !signal.aborted) {
      const first = Math.max(state.first_seq, last - size + 1);
      const entries = await this.#window(first, last, signal);
      // Cut short it lacks its latest.
      if (signal.aborted) return;
      yield entries.reverse();
      last = first - 1;
      size = Math.min(LARGEST_WINDOW, size * WINDOW_GROWTH);
    }
  }

  async #window(first: number, last: number, signal: AbortSignal): Promise<IndexEntry[]> {
    const consumer = await this.#client.consumers.get(this.#stream, {
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: first,
      headers_only: true,
    });
    const messages = await consumer.consume({ max_messages: Math.min(PREFETCH, last - first + 2) });
    const stop = (): void => messages.stop();
    signal.addEventListener("abort", stop, { once: true });
    // What was there may have expired meanwhile: then nothing ever comes that says it was the last.
    const silence = setTimeout(stop, SILENCE_MS);
    const prefix = bucketSubject(BUCKET.records, "");
    const entries: IndexEntry[] = [];
    for await (const message of messages) {
      silence.refresh();
      if (message.seq > last) break;
      const state = message.headers?.get(STATE_HEADER) ?? "";
      const queue = message.headers?.get(QUEUE_HEADER) ?? "";
      const changedAtMs = Number(message.timestampNanos / 1_000_000n);
      if (state !== "") entries.push({ hash: message.subject.slice(prefix.length), state, queue, changedAtMs });
      if (message.seq === last || message.info.pending === 0) break;
    }
    clearTimeout(silence);
    signal.removeEventListener("abort", stop);
    await messages.close();
    // The broker would keep it for five minutes.
    await consumer.delete();
    return entries;
  }
}
