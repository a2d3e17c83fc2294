import { z } from "zod";
import { jsonOf } from "../contract/ascii-json.ts";
import { DLQ_HEADER, deadJobHeaders, rejectionHeaders } from "../contract/dead-letter.ts";
import { attemptSource, type KeptMessage } from "../contract/event.ts";
import type { Rejection } from "../contract/message.ts";
import type { JobRecord } from "../contract/record.ts";
import { type MessageSource, sourceKey } from "../contract/source.ts";
import { STREAM } from "../contract/streams.ts";
import { deadLetterSubject, rejectedDeadLetterSubject } from "../contract/subjects.ts";
import type { Broker, StoredMessage } from "./broker.ts";
import type { OncePublisher } from "./publish-once.ts";
import { StreamRoom } from "./stream-room.ts";

/** The rest of the DLQ is for jobs that failed: a producer of nothing but garbage must not keep other queues from settling. */
const SHARE_OF_REJECTED = 0.5;

const headerMap = z.record(z.string(), z.array(z.string()));

/** Where the ends of failed attempts' logs are kept. */
export interface KeptLogs {
  get(hash: string, attempt: number): Promise<string | undefined>;
}

/** The DLQ: one entry per dead life (invariant I4) and per rejected message, with the raw bytes as its body. */
export class DeadLetters {
  readonly #broker: Broker;
  readonly #once: OncePublisher;
  readonly #logs: KeptLogs;
  readonly #room: StreamRoom;

  constructor(options: { readonly broker: Broker; readonly once: OncePublisher; readonly logs: KeptLogs }) {
    this.#broker = options.broker;
    this.#once = options.once;
    this.#logs = options.logs;
    const { broker } = options;
    this.#room = new StreamRoom({ broker, stream: STREAM.deadLetters, share: SHARE_OF_REJECTED, nowMs: () => performance.now() });
  }

  /** `message` undefined: the bytes were lost; the entry says so and is empty. */
  async dead(record: JobRecord, message: KeptMessage | undefined): Promise<void> {
    const logTail = await this.#logs.get(record.hash, record.attempt);
    await this.#once.publish({
      stream: STREAM.deadLetters,
      subject: deadLetterSubject(record.queue, record.type, record.hash, record.attempt),
      source: attemptSource(record),
      headers: deadJobHeaders(record, message ?? { subject: "", headers: {} }, logTail),
      body: message === undefined ? "" : Buffer.from(message.bodyBase64, "base64"),
    });
  }

  async rejected(options: {
    readonly queue: string;
    readonly type: string;
    readonly id: string | undefined;
    readonly source: MessageSource;
    readonly rejection: Rejection;
    readonly original: Pick<KeptMessage, "subject" | "headers">;
    readonly body: Uint8Array;
  }): Promise<void> {
    await this.#once.publish({
      stream: STREAM.deadLetters,
      subject: rejectedDeadLetterSubject(options.queue, options.type, options.source),
      source: sourceKey(options.source),
      headers: rejectionHeaders(options),
      body: options.body,
    });
  }

  hasRoomForRejected(): Promise<boolean> {
    return this.#room.isLeft();
  }

  async has(record: JobRecord): Promise<boolean> {
    return (await this.#entry(record)) !== undefined;
  }

  /** The message that this life's entry holds. */
  async keptMessage(record: JobRecord): Promise<KeptMessage | undefined> {
    const entry = await this.#entry(record);
    if (entry === undefined || entry.data.length === 0) return undefined;
    const json = (name: string): unknown => jsonOf(entry.headers[name]?.[0]);
    const original = headerMap.safeParse(json(DLQ_HEADER.headers));
    return {
      subject: String(json(DLQ_HEADER.subject) ?? ""),
      headers: original.success ? original.data : {},
      bodyBase64: Buffer.from(entry.data).toString("base64"),
    };
  }

  async #entry(record: JobRecord): Promise<StoredMessage | undefined> {
    const subject = deadLetterSubject(record.queue, record.type, record.hash, record.attempt);
    return this.#broker.last(STREAM.deadLetters, subject);
  }
}
