/** A message as a stream holds it. `storedAt`: nanoseconds since the epoch as decimal text, because it does not fit a double. */
export interface StoredMessage {
  readonly stream: string;
  readonly subject: string;
  readonly seq: number;
  readonly storedAt: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly data: Uint8Array;
}

export interface Publication {
  readonly stream: string;
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | string;
  /** The sequence that the subject's last message must have; 0 = the subject must hold none. */
  readonly expectedLastSequence: number;
}

export type PublishOutcome =
  | { readonly kind: "stored"; readonly seq: number }
  /** Another message is the subject's last one. */
  | { readonly kind: "wrongLastSequence" };

/**
 * What the protocol needs of JetStream, and nothing else: everything durable goes through these few calls, so that the same code runs on a real
 * server and on the model that plays every crash and race against it.
 */
export interface Broker {
  /** A compare-and-swap on one subject: the broker's only write. */
  publish(publication: Publication): Promise<PublishOutcome>;
  /** The last message of a subject, read from the stream's leader: what decides must not be stale (rule D2). */
  last(stream: string, subject: string): Promise<StoredMessage | undefined>;
  /** The last messages of up to 128 subjects by direct reads, which any replica may answer and which may be stale. */
  lastOfMany(stream: string, subjects: readonly string[]): Promise<StoredMessage[]>;
  bySequence(stream: string, seq: number): Promise<StoredMessage | undefined>;
  /** Removes a message from its stream. No error when it is gone already. */
  remove(stream: string, seq: number): Promise<void>;
  /** Removes every message of a subject; a schedule goes with its message. */
  purge(stream: string, subject: string): Promise<void>;
  /** How full a stream is, between 0 and 1 of its `max_bytes`. */
  fillOf(stream: string): Promise<number>;
  /** How far the server's clock is ahead of ours: schedules go by the server's (rule S6). */
  clockOffsetMs(): Promise<number>;
  /** Acknowledges and waits for the server's word; false when none came (the consumer is gone, or was made anew). */
  acknowledge(replySubject: string): Promise<boolean>;
  /** `+WPI`: fire and forget, a lost one is made up for by the next. */
  renew(replySubject: string): void;
  /** The subjects of a bucket's last messages whose header has the value, the oldest first, at most so many; read without bodies. Cut short by the signal. */
  subjectsWith(stream: string, header: string, value: string, signal: AbortSignal, atMost?: number): Promise<string[]>;
}
