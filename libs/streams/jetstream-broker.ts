import {
  DeliverPolicy,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  type StoredMsg,
} from "@nats-io/jetstream";
import { headers, type MsgHdrs, type NatsConnection } from "@nats-io/transport-node";
import { nanosOfTimestamp } from "../contract/source.ts";
import { STREAM } from "../contract/streams.ts";
import type { Broker, Publication, PublishOutcome, StoredMessage } from "./broker.ts";
import { isMissing, isWrongLastSequence } from "./errors.ts";

const ACK = "+ACK";
const IN_PROGRESS = "+WPI";
const ACK_ANSWER_MS = 5_000;
/** D2: above this a direct multi-get may leave keys out without an error. */
const MULTI_GET_SUBJECTS = 128;
const MULTI_GET_MS = 10_000;
const SILENCE_MS = 5_000;
/** S6. */
const CLOCK_READ_EVERY_MS = 60_000;
const CLOCK_WAS_SET_MS = 1_000;

/** The broker over one connection to a real nats-server. */
export class JetStreamBroker implements Broker {
  readonly #connection: NatsConnection;
  readonly #client: JetStreamClient;
  readonly #manager: JetStreamManager;
  readonly #clockStream: string;
  #clock = { readAtMs: Number.NEGATIVE_INFINITY, startMs: 0, offsetMs: 0 };
  #readingClock: Promise<number> | undefined;

  private constructor(connection: NatsConnection, manager: JetStreamManager, clockStream: string) {
    this.#connection = connection;
    this.#client = jetstream(connection);
    this.#manager = manager;
    this.#clockStream = clockStream;
  }

  /** `clockStream`: the stream that the clock is read from, for those who may not ask about RETRY. */
  static async open(
    connection: NatsConnection,
    { clockStream = STREAM.retry }: { readonly clockStream?: string } = {},
  ): Promise<JetStreamBroker> {
    return new JetStreamBroker(connection, await jetstreamManager(connection), clockStream);
  }

  async publish(publication: Publication): Promise<PublishOutcome> {
    const head = headers();
    for (const [name, value] of Object.entries(publication.headers)) head.set(name, value);
    try {
      const ack = await this.#client.publish(publication.subject, publication.body, {
        headers: head,
        expect: { streamName: publication.stream, lastSubjectSequence: publication.expectedLastSequence },
      });
      return { kind: "stored", seq: ack.seq };
    } catch (error) {
      if (isWrongLastSequence(error)) return { kind: "wrongLastSequence" };
      throw error;
    }
  }

  async last(stream: string, subject: string): Promise<StoredMessage | undefined> {
    // A stream that is away, as while it is restored, says nothing of what it holds: "no record" would have a job made anew.
    return this.#message(stream, { last_by_subj: subject });
  }

  async bySequence(stream: string, seq: number): Promise<StoredMessage | undefined> {
    try {
      return await this.#message(stream, { seq });
    } catch (error) {
      // A message went with its stream.
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async #message(stream: string, query: { seq: number } | { last_by_subj: string }): Promise<StoredMessage | undefined> {
    const stored = await this.#manager.streams.getMessage(stream, query);
    return stored === null ? undefined : storedMessage(stream, stored);
  }

  async lastOfMany(stream: string, subjects: readonly string[]): Promise<StoredMessage[]> {
    const found: StoredMessage[] = [];
    for (let start = 0; start < subjects.length; start += MULTI_GET_SUBJECTS) {
      found.push(...(await this.#lastOfSome(stream, subjects.slice(start, start + MULTI_GET_SUBJECTS))));
    }
    return found;
  }

  async #lastOfSome(stream: string, subjects: readonly string[]): Promise<StoredMessage[]> {
    const [only] = subjects;
    if (only !== undefined && subjects.length === 1) {
      const stored = await this.#manager.direct.getMessage(stream, { last_by_subj: only });
      return stored === null ? [] : [storedMessage(stream, stored)];
    }
    const answers = await this.#directMultiGet(stream, subjects);
    const found = answers.map((stored) => storedMessage(stream, stored));
    // The answer was cut short by its size: what is missing is not known to be absent.
    if ((answers.at(-1)?.pending ?? 0) === 0) return found;
    const known = new Set(found.map(({ subject }) => subject));
    const missing = subjects.filter((subject) => !known.has(subject));
    return [...found, ...(await Promise.all(missing.map((subject) => this.#lastOfSome(stream, [subject])))).flat()];
  }

  async #directMultiGet(stream: string, subjects: readonly string[]): Promise<StoredMsg[]> {
    const stored: StoredMsg[] = [];
    const { promise: complete, resolve, reject } = Promise.withResolvers<void>();
    const answers = await this.#manager.direct.getLastMessagesFor(stream, {
      multi_last: [...subjects],
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

  async remove(stream: string, seq: number): Promise<void> {
    try {
      await this.#manager.streams.deleteMessage(stream, seq, false);
    } catch (error) {
      if ((await this.bySequence(stream, seq)) !== undefined) throw error;
    }
  }

  async purge(stream: string, subject: string): Promise<void> {
    await this.#manager.streams.purge(stream, { filter: subject });
  }

  async fillOf(stream: string): Promise<number> {
    const { state, config } = await this.#manager.streams.info(stream);
    return config.max_bytes > 0 ? state.bytes / config.max_bytes : 0;
  }

  async clockOffsetMs(): Promise<number> {
    // The monotonic clock says how long ago that was, and whether ours was set since then.
    const readAtMs = performance.now();
    const startMs = Date.now() - readAtMs;
    const isFresh = readAtMs - this.#clock.readAtMs < CLOCK_READ_EVERY_MS;
    if (isFresh && Math.abs(startMs - this.#clock.startMs) < CLOCK_WAS_SET_MS) return this.#clock.offsetMs;
    // Hundreds may ask at once; one answer is for all of them.
    this.#readingClock ??= this.#readClock(readAtMs, startMs).finally(() => {
      this.#readingClock = undefined;
    });
    return this.#readingClock;
  }

  async #readClock(readAtMs: number, startMs: number): Promise<number> {
    const { ts } = await this.#manager.streams.info(this.#clockStream);
    const middleMs = startMs + (readAtMs + performance.now()) / 2;
    this.#clock = { readAtMs, startMs, offsetMs: ts === undefined ? 0 : Math.round(Date.parse(ts) - middleMs) };
    return this.#clock.offsetMs;
  }

  async acknowledge(replySubject: string): Promise<boolean> {
    try {
      await this.#connection.request(replySubject, ACK, { timeout: ACK_ANSWER_MS });
      return true;
    } catch {
      // No responder (the consumer is gone) and no answer mean the same: not known to be acknowledged.
      return false;
    }
  }

  renew(replySubject: string): void {
    this.#connection.publish(replySubject, IN_PROGRESS);
  }

  /** Cut short as well when the broker falls silent: what was there may have expired, and then nothing ever says that it was the last. */
  async subjectsWith(
    stream: string,
    header: string,
    value: string,
    signal: AbortSignal,
    atMost = Number.POSITIVE_INFINITY,
  ): Promise<string[]> {
    const info = await this.#manager.streams.info(stream);
    if (info.state.messages === 0) return [];
    const consumer = await this.#client.consumers.get(stream, {
      deliver_policy: DeliverPolicy.LastPerSubject,
      headers_only: true,
    });
    const messages = await consumer.consume({ max_messages: 500 });
    const stop = (): void => messages.stop();
    signal.addEventListener("abort", stop, { once: true });
    const silence = setTimeout(stop, SILENCE_MS);
    const subjects: string[] = [];
    for await (const message of messages) {
      silence.refresh();
      if (message.headers?.get(header) === value) subjects.push(message.subject);
      if (message.info.pending === 0 || subjects.length >= atMost) break;
    }
    clearTimeout(silence);
    signal.removeEventListener("abort", stop);
    // The broker would keep it for five minutes, and a sweep comes every half.
    await messages.close();
    await consumer.delete();
    return subjects;
  }
}

export function headerValues(head: MsgHdrs | undefined): Record<string, string[]> {
  return head === undefined ? {} : Object.fromEntries([...head].map(([name, values]) => [name, [...values]]));
}

function storedMessage(stream: string, stored: StoredMsg): StoredMessage {
  return {
    stream,
    subject: stored.subject,
    seq: stored.seq,
    storedAt: nanosOfTimestamp(stored.timestamp),
    headers: headerValues(stored.header),
    data: stored.data,
  };
}
