import type { NatsConnection } from "@nats-io/transport-node";
import { MillraceError } from "../contract/errors.ts";
import { type JobRecord, type JobState, jobRecord, QUEUE_HEADER, STATE_HEADER } from "../contract/record.ts";
import { BUCKET, bucketStream, bucketSubject } from "../contract/streams.ts";
import type { Broker, StoredMessage } from "./broker.ts";
import { JetStreamBroker } from "./jetstream-broker.ts";

export interface StoredRecord {
  readonly record: JobRecord;
  /** The KV revision that a compare-and-swap must name. */
  readonly revision: number;
}

export type SwapOutcome = { readonly kind: "won"; readonly revision: number } | { readonly kind: "lost" };

const DELETE_MARKER_HEADER = "KV-Operation";

/** The records of jobs: KV bucket `millrace_jobs`. Written only by compare-and-swap. */
export class RecordStore {
  readonly #broker: Broker;
  readonly #stream = bucketStream(BUCKET.records);

  constructor(options: { readonly broker: Broker }) {
    this.#broker = options.broker;
  }

  static async open(connection: NatsConnection): Promise<RecordStore> {
    return new RecordStore({ broker: await JetStreamBroker.open(connection) });
  }

  /**
   * A read from the stream's leader: what decides must not be stale (rule D2).
   * @throws MillraceError `RECORD_UNREADABLE` when somebody else wrote there
   */
  async get(hash: string): Promise<StoredRecord | undefined> {
    const stored = await this.#broker.last(this.#stream, bucketSubject(BUCKET.records, hash));
    return stored === undefined ? undefined : parse(stored);
  }

  /**
   * Many records in few direct reads, which any replica may answer and which may be stale: good enough to see that there is no record yet,
   * because the Job's name catches what a stale read missed. One that cannot be read is given to `onUnreadable` and keeps no other from being read.
   */
  async getMany(hashes: readonly string[], onUnreadable: (hash: string) => void): Promise<Map<string, StoredRecord>> {
    const subjects = [...new Set(hashes)].map((hash) => bucketSubject(BUCKET.records, hash));
    const found = new Map<string, StoredRecord>();
    for (const stored of await this.#broker.lastOfMany(this.#stream, subjects)) {
      const hash = stored.subject.slice(bucketSubject(BUCKET.records, "").length);
      try {
        const parsed = parse(stored);
        if (parsed !== undefined) found.set(hash, parsed);
      } catch {
        onUnreadable(hash);
      }
    }
    return found;
  }

  /** Writes `record` if the key is still at `revision`; 0 means that it must not exist. */
  async swap(record: JobRecord, revision: number): Promise<SwapOutcome> {
    const outcome = await this.#broker.publish({
      stream: this.#stream,
      subject: bucketSubject(BUCKET.records, record.hash),
      headers: { [STATE_HEADER]: record.state, [QUEUE_HEADER]: record.queue },
      body: JSON.stringify(record),
      expectedLastSequence: revision,
    });
    return outcome.kind === "stored" ? { kind: "won", revision: outcome.seq } : { kind: "lost" };
  }

  /** How full the bucket is, between 0 and 1. */
  fill(): Promise<number> {
    return this.#broker.fillOf(this.#stream);
  }

  /** Forgets the jobs in a state that changed longest ago, `count` at most. How many. */
  async forgetOldest(state: JobState, count: number, signal: AbortSignal): Promise<number> {
    const subjects = await this.#broker.subjectsWith(this.#stream, STATE_HEADER, state, signal, count);
    for (const subject of subjects) {
      if (signal.aborted) break;
      await this.#broker.purge(this.#stream, subject);
    }
    return subjects.length;
  }

  /** The hashes of all records in one state, read from headers alone. */
  async inState(state: JobState, signal: AbortSignal): Promise<string[]> {
    const subjects = await this.#broker.subjectsWith(this.#stream, STATE_HEADER, state, signal);
    const prefix = bucketSubject(BUCKET.records, "");
    return subjects.map((subject) => subject.slice(prefix.length));
  }
}

function parse(stored: StoredMessage): StoredRecord | undefined {
  if (stored.data.length === 0 || stored.headers[DELETE_MARKER_HEADER] !== undefined) return undefined;
  try {
    return { record: jobRecord.parse(JSON.parse(new TextDecoder().decode(stored.data))), revision: stored.seq };
  } catch (cause) {
    const what = `the record under ${stored.subject} cannot be read`;
    throw new MillraceError("RECORD_UNREADABLE", `${what}; its job stands still until it is mended or removed`, { cause });
  }
}
