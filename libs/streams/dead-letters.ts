import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import { DLQ_HEADER, deadJobHeaders, rejectionHeaders } from "../contract/dead-letter.ts";
import type { KeptMessage } from "../contract/event.ts";
import type { Rejection } from "../contract/message.ts";
import type { JobRecord } from "../contract/record.ts";
import { type MessageSource, sourceKey } from "../contract/source.ts";
import { STREAM } from "../contract/streams.ts";
import { deadLetterSubject, rejectedDeadLetterSubject } from "../contract/subjects.ts";
import type { OncePublisher } from "./publish-once.ts";

const headerMap = z.record(z.string(), z.array(z.string()));

/** The DLQ: one entry per dead life (invariant I4) and per rejected message, with the raw bytes as its body. */
export class DeadLetters {
  readonly #once: OncePublisher;
  readonly #manager: JetStreamManager;

  private constructor(once: OncePublisher, manager: JetStreamManager) {
    this.#once = once;
    this.#manager = manager;
  }

  static async open(options: { connection: NatsConnection; once: OncePublisher }): Promise<DeadLetters> {
    return new DeadLetters(options.once, await jetstreamManager(options.connection));
  }

  /** `message` undefined: the bytes were lost; the entry says so and is empty. */
  async dead(record: JobRecord, message: KeptMessage | undefined): Promise<void> {
    await this.#once.publish({
      stream: STREAM.deadLetters,
      subject: deadLetterSubject(record.queue, record.type, record.hash, record.attempt),
      source: record.job?.uid ?? sourceKey(record.source),
      headers: deadJobHeaders(record, message ?? { subject: "", headers: {} }),
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

  async has(record: JobRecord): Promise<boolean> {
    return (await this.#entry(record)) !== undefined;
  }

  /** The message that this life's entry holds. */
  async keptMessage(record: JobRecord): Promise<KeptMessage | undefined> {
    const entry = await this.#entry(record);
    if (entry === undefined || entry.data.length === 0) return undefined;
    const json = (name: string): unknown => JSON.parse(entry.header.get(name) || "null");
    const original = headerMap.safeParse(json(DLQ_HEADER.headers));
    return {
      subject: String(json(DLQ_HEADER.subject)),
      headers: original.success ? original.data : {},
      bodyBase64: Buffer.from(entry.data).toString("base64"),
    };
  }

  async #entry(record: JobRecord) {
    const subject = deadLetterSubject(record.queue, record.type, record.hash, record.attempt);
    return (await this.#manager.streams.getMessage(STREAM.deadLetters, { last_by_subj: subject })) ?? undefined;
  }
}
