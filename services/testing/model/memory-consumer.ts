import type { StoredMessage } from "../../../libs/streams/broker.ts";
import type { MemoryStream } from "./memory-stream.ts";

export interface Delivered {
  readonly message: StoredMessage;
  readonly replySubject: string;
  readonly deliveries: number;
}

interface Unacked {
  readonly deliveries: number;
  /** When it is delivered again. */
  readonly againAtMs: number;
}

/**
 * A durable pull consumer with explicit acks. A message is new → unacked → (ack_wait passed or NAKed → unacked again)* → acknowledged.
 * Redelivery goes on at `max_ack_pending`; new messages do not.
 */
export class MemoryConsumer {
  readonly name: string;
  readonly #stream: MemoryStream;
  readonly #filter: string;
  readonly #ackWaitMs: number;
  readonly #maxAckPending: number;
  #unacked = new Map<number, Unacked>();
  /** Everything up to here was delivered once. */
  #seen = 0;
  #deliveries = 0;

  constructor(options: {
    readonly name: string;
    readonly stream: MemoryStream;
    /** What subjects begin with. */
    readonly filter: string;
    readonly ackWaitMs: number;
    readonly maxAckPending: number;
  }) {
    this.name = options.name;
    this.#stream = options.stream;
    this.#filter = options.filter;
    this.#ackWaitMs = options.ackWaitMs;
    this.#maxAckPending = options.maxAckPending;
  }

  get pending(): number {
    return this.#unacked.size;
  }

  pull(max: number, nowMs: number): Delivered[] {
    const delivered: Delivered[] = [];
    for (const [seq, { deliveries, againAtMs }] of [...this.#unacked]) {
      const message = this.#stream.get(seq);
      if (message === undefined) this.#unacked.delete(seq);
      else if (delivered.length < max && againAtMs <= nowMs) delivered.push(this.#deliver(message, deliveries + 1, nowMs));
    }
    for (const message of this.#stream.messages()) {
      if (delivered.length >= max || this.#unacked.size >= this.#maxAckPending) break;
      if (message.seq <= this.#seen || !message.subject.startsWith(this.#filter)) continue;
      this.#seen = message.seq;
      delivered.push(this.#deliver(message, 1, nowMs));
    }
    return delivered;
  }

  /** False when the server would not answer: this consumer never delivered the message. */
  acknowledge(seq: number): boolean {
    if (seq > this.#seen) return false;
    this.#unacked.delete(seq);
    if (this.#stream.kind.workqueue) this.#stream.remove(seq);
    return true;
  }

  renew(seq: number, nowMs: number): void {
    this.#again(seq, nowMs + this.#ackWaitMs);
  }

  handBack(seq: number, delayMs: number, nowMs: number): void {
    this.#again(seq, nowMs + delayMs);
  }

  /** The message was removed: it is not awaited any more. */
  forget(seq: number): void {
    this.#unacked.delete(seq);
  }

  snapshot(): () => void {
    const [unacked, seen, deliveries] = [new Map(this.#unacked), this.#seen, this.#deliveries];
    return () => {
      this.#unacked = new Map(unacked);
      this.#seen = seen;
      this.#deliveries = deliveries;
    };
  }

  #again(seq: number, againAtMs: number): void {
    const unacked = this.#unacked.get(seq);
    if (unacked !== undefined) this.#unacked.set(seq, { ...unacked, againAtMs });
  }

  #deliver(message: StoredMessage, deliveries: number, nowMs: number): Delivered {
    this.#deliveries += 1;
    this.#unacked.set(message.seq, { deliveries, againAtMs: nowMs + this.#ackWaitMs });
    const { stream, seq, storedAt } = message;
    const replySubject = `$JS.ACK.${stream}.${this.name}.${deliveries}.${seq}.${this.#deliveries}.${storedAt}.0`;
    return { message, replySubject, deliveries };
  }
}
