import {
  DeliverPolicy,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  type StoredMsg,
} from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { headers } from "@nats-io/transport-node";
import { type JobRecord, type JobState, jobRecord, STATE_HEADER } from "../contract/record.ts";
import { BUCKET, bucketStream, bucketSubject } from "../contract/streams.ts";
import { isWrongLastSequence } from "./errors.ts";

export interface StoredRecord {
  readonly record: JobRecord;
  /** The KV revision that a compare-and-swap must name. */
  readonly revision: number;
}

export type SwapOutcome = { readonly kind: "won"; readonly revision: number } | { readonly kind: "lost" };

/** D2: above this a direct multi-get may leave keys out without an error. */
const MULTI_GET_KEYS = 128;

const MULTI_GET_MS = 10_000;
const SILENCE_MS = 5_000;

const DELETE_MARKER_HEADER = "KV-Operation";

/** The records of jobs: KV bucket `millrace_jobs`. Written only by compare-and-swap. */
export class RecordStore {
  readonly #client: JetStreamClient;
  readonly #manager: JetStreamManager;
  readonly #stream = bucketStream(BUCKET.records);

  private constructor(client: JetStreamClient, manager: JetStreamManager) {
    this.#client = client;
    this.#manager = manager;
  }

  static async open(connection: NatsConnection): Promise<RecordStore> {
    return new RecordStore(jetstream(connection), await jetstreamManager(connection));
  }

  /** A read from the stream's leader: what decides must not be stale (rule D2). */
  async get(hash: string): Promise<StoredRecord | undefined> {
    const stored = await this.#manager.streams.getMessage(this.#stream, { last_by_subj: bucketSubject(BUCKET.records, hash) });
    return stored === null ? undefined : parse(stored);
  }

  /**
   * Many records in few direct reads, which any replica may answer and which may be stale: good enough to see that there is no record yet,
   * because the Job's name catches what a stale read missed.
   */
  async getMany(hashes: readonly string[]): Promise<Map<string, StoredRecord>> {
    const found = new Map<string, StoredRecord>();
    const unique = [...new Set(hashes)];
    for (let start = 0; start < unique.length; start += MULTI_GET_KEYS) {
      await this.#readInto(found, unique.slice(start, start + MULTI_GET_KEYS));
    }
    return found;
  }

  async #readInto(found: Map<string, StoredRecord>, hashes: readonly string[]): Promise<void> {
    const [only] = hashes;
    if (hashes.length === 1 && only !== undefined) {
      const stored = await this.#manager.direct.getMessage(this.#stream, { last_by_subj: bucketSubject(BUCKET.records, only) });
      const record = stored === null ? undefined : parse(stored);
      if (record !== undefined) found.set(only, record);
      return;
    }
    const answers = await this.#lastOf(hashes);
    for (const stored of answers) {
      const parsed = parse(stored);
      if (parsed !== undefined) found.set(parsed.record.hash, parsed);
    }
    // The answer was cut short by its size: what is missing is not known to be absent.
    if ((answers.at(-1)?.pending ?? 0) > 0)
      await Promise.all(hashes.filter((hash) => !found.has(hash)).map((hash) => this.#readInto(found, [hash])));
  }

  async #lastOf(hashes: readonly string[]): Promise<StoredMsg[]> {
    const stored: StoredMsg[] = [];
    const { promise: complete, resolve, reject } = Promise.withResolvers<void>();
    const answers = await this.#manager.direct.getLastMessagesFor(this.#stream, {
      multi_last: hashes.map((hash) => bucketSubject(BUCKET.records, hash)),
      // Iterated over instead, the client (3.4.0) would leave one subscription behind for each read.
      callback: (done, message) => {
        if (done === null) stored.push(message);
        else if (done.err === undefined) resolve();
        else reject(done.err);
      },
    });
    // The client waits only for the first message; a broker that dies in the middle of its answer must not hold the batch for ever.
    const timer = setTimeout(() => answers.stop(new Error("the broker's answer stayed incomplete")), MULTI_GET_MS);
    await complete.finally(() => clearTimeout(timer));
    return stored;
  }

  /** Writes `record` if the key is still at `revision`; 0 means that it must not exist. */
  async swap(record: JobRecord, revision: number): Promise<SwapOutcome> {
    const head = headers();
    head.set(STATE_HEADER, record.state);
    try {
      const ack = await this.#client.publish(bucketSubject(BUCKET.records, record.hash), JSON.stringify(record), {
        headers: head,
        expect: { lastSubjectSequence: revision },
      });
      return { kind: "won", revision: ack.seq };
    } catch (error) {
      if (isWrongLastSequence(error)) return { kind: "lost" };
      throw error;
    }
  }

  /** The hashes of all records in one state, read from headers alone. Cut short when the signal aborts or the broker falls silent. */
  async inState(state: JobState, signal: AbortSignal): Promise<string[]> {
    const info = await this.#manager.streams.info(this.#stream);
    if (info.state.messages === 0) return [];
    const consumer = await this.#client.consumers.get(this.#stream, {
      deliver_policy: DeliverPolicy.LastPerSubject,
      headers_only: true,
    });
    const messages = await consumer.consume({ max_messages: 500 });
    const stop = (): void => messages.stop();
    signal.addEventListener("abort", stop, { once: true });
    // What was there may have expired meanwhile: then nothing ever comes that says it was the last.
    const silence = setTimeout(stop, SILENCE_MS);
    const prefix = bucketSubject(BUCKET.records, "");
    const hashes: string[] = [];
    for await (const message of messages) {
      silence.refresh();
      if (message.headers?.get(STATE_HEADER) === state) hashes.push(message.subject.slice(prefix.length));
      if (message.info.pending === 0) break;
    }
    clearTimeout(silence);
    signal.removeEventListener("abort", stop);
    // The broker would keep it for five minutes, and a sweep comes every half.
    await messages.close();
    await consumer.delete();
    return hashes;
  }
}

function parse(stored: StoredMsg): StoredRecord | undefined {
  if (stored.data.length === 0 || (stored.header?.get(DELETE_MARKER_HEADER) ?? "") !== "") return undefined;
  return { record: jobRecord.parse(stored.json()), revision: stored.seq };
}
