import { BUCKET, bucketStream, consumerName, STREAM } from "../../../libs/contract/streams.ts";
import type { Broker, Publication, PublishOutcome, StoredMessage } from "../../../libs/streams/broker.ts";
import { type Delivered, MemoryConsumer } from "./memory-consumer.ts";
import { MemoryStream } from "./memory-stream.ts";

export const RECORDS = bucketStream(BUCKET.records);

const KINDS = [
  { name: STREAM.jobs, workqueue: true, lastOnly: false },
  { name: STREAM.retry, workqueue: true, lastOnly: false },
  { name: STREAM.events, workqueue: false, lastOnly: false },
  { name: STREAM.deadLetters, workqueue: false, lastOnly: false },
  { name: RECORDS, workqueue: false, lastOnly: true },
] as const;

export interface MemoryBrokerOptions {
  /** The server's clock. */
  readonly nowMs: () => number;
  readonly queues: readonly string[];
  readonly ackWaitMs: number;
  readonly slots: number;
  readonly retrySlots: number;
}

/**
 * JetStream as far as the protocol sees it, in memory and with a clock of its own: `broker-conformance.ts` runs the same cases against this
 * and against a real nats-server. Every call takes effect at once; whoever wants delays, crashes and lost answers puts them around it.
 */
export class MemoryBroker implements Broker {
  readonly #nowMs: () => number;
  readonly #streams: ReadonlyMap<string, MemoryStream>;
  readonly #consumers: ReadonlyMap<string, MemoryConsumer>;
  #stored = 0n;

  constructor(options: MemoryBrokerOptions) {
    const { queues, ackWaitMs, slots, retrySlots } = options;
    this.#nowMs = options.nowMs;
    // Two messages never have the same store time, even when a stream is restored and the clock set back.
    const nextNanos = (): bigint => BigInt(this.#nowMs()) * 1_000_000n + (this.#stored++ % 1_000_000n);
    const streams = new Map(KINDS.map((kind) => [kind.name, new MemoryStream(kind, nextNanos)]));
    this.#streams = streams;
    const consumer = (name: string, queue: string, filter: string, maxAckPending: number): [string, MemoryConsumer][] => {
      const stream = streams.get(name);
      const options = { name: consumerName(queue), filter, ackWaitMs, maxAckPending };
      return stream === undefined ? [] : [[`${name}.${consumerName(queue)}`, new MemoryConsumer({ ...options, stream })]];
    };
    this.#consumers = new Map(
      queues.flatMap((queue) => [
        ...consumer(STREAM.jobs, queue, `jobs.${queue}.`, slots),
        ...consumer(STREAM.retry, queue, `retry.run.${queue}.`, retrySlots),
      ]),
    );
  }

  publish(publication: Publication): Promise<PublishOutcome> {
    return attempt(() => this.stream(publication.stream).publish(publication));
  }

  last(stream: string, subject: string): Promise<StoredMessage | undefined> {
    return attempt(() => this.stream(stream).last(subject));
  }

  lastOfMany(stream: string, subjects: readonly string[]): Promise<StoredMessage[]> {
    return attempt(() => subjects.map((subject) => this.stream(stream).last(subject)).filter((found) => found !== undefined));
  }

  /** As a replica answers that has not heard of the last write. */
  staleLastOfMany(stream: string, subjects: readonly string[]): Promise<StoredMessage[]> {
    return attempt(() =>
      subjects.map((subject) => this.stream(stream).formerLast(subject)).filter((found) => found !== undefined),
    );
  }

  bySequence(stream: string, seq: number): Promise<StoredMessage | undefined> {
    return attempt(() => this.#streams.get(stream)?.get(seq));
  }

  remove(stream: string, seq: number): Promise<void> {
    return attempt(() => this.#remove(stream, seq));
  }

  purge(stream: string, subject: string): Promise<void> {
    return attempt(() => {
      for (const { seq, subject: of } of this.stream(stream).messages()) if (of === subject) this.#remove(stream, seq);
    });
  }

  fillOf(): Promise<number> {
    return Promise.resolve(0);
  }

  clockOffsetMs(): Promise<number> {
    return Promise.resolve(0);
  }

  acknowledge(replySubject: string): Promise<boolean> {
    return attempt(() => this.#delivery(replySubject, (consumer, seq) => consumer.acknowledge(seq)) ?? false);
  }

  renew(replySubject: string): void {
    this.#delivery(replySubject, (consumer, seq) => consumer.renew(seq, this.#nowMs()));
  }

  subjectsWith(stream: string, header: string, value: string, _signal?: AbortSignal, atMost?: number): Promise<string[]> {
    const has = ({ headers }: StoredMessage): boolean => headers[header]?.[0] === value;
    return attempt(() =>
      this.stream(stream)
        .lastOfEach()
        .filter(has)
        .slice(0, atMost)
        .map(({ subject }) => subject),
    );
  }

  stream(name: string): MemoryStream {
    const stream = this.#streams.get(name);
    if (stream === undefined) throw new Error(`stream not found: ${name}`);
    return stream;
  }

  /** A producer's publish. */
  produce(subject: string, body: string): StoredMessage {
    return this.stream(STREAM.jobs).append(subject, {}, new TextEncoder().encode(body));
  }

  pull(stream: string, queue: string, max: number): Delivered[] {
    return this.#consumers.get(`${stream}.${consumerName(queue)}`)?.pull(max, this.#nowMs()) ?? [];
  }

  unacked(stream: string, queue: string): number {
    return this.#consumers.get(`${stream}.${consumerName(queue)}`)?.pending ?? 0;
  }

  handBack(replySubject: string, delayMs: number): void {
    this.#delivery(replySubject, (consumer, seq) => consumer.handBack(seq, delayMs, this.#nowMs()));
  }

  /** Fires what is due. `twice`: the server died before it had removed the schedule. */
  fireSchedules(options: { readonly twice: boolean } = { twice: false }): void {
    const retries = this.stream(STREAM.retry);
    for (const schedule of retries.dueSchedules(this.#nowMs())) {
      if (options.twice) retries.fire(schedule, { keep: true });
      retries.fire(schedule, { keep: false });
    }
  }

  /** A stream's backup, consumers included; the answer restores it. */
  snapshot(stream: string): () => void {
    const consumers = [...this.#consumers].filter(([key]) => key.startsWith(`${stream}.`)).map(([, consumer]) => consumer);
    const restores = [this.stream(stream), ...consumers].map((part) => part.snapshot());
    return () => {
      for (const restore of restores) restore();
    };
  }

  #remove(stream: string, seq: number): void {
    this.stream(stream).remove(seq);
    for (const [key, consumer] of this.#consumers) if (key.startsWith(`${stream}.`)) consumer.forget(seq);
  }

  #delivery<Answer>(replySubject: string, answer: (consumer: MemoryConsumer, seq: number) => Answer): Answer | undefined {
    const [, , stream, name, , seq] = replySubject.split(".");
    const consumer = this.#consumers.get(`${stream}.${name}`);
    return consumer === undefined ? undefined : answer(consumer, Number(seq));
  }
}

/** What is thrown rejects. */
async function attempt<Answer>(call: () => Answer): Promise<Answer> {
  return call();
}
