import type { Publication, PublishOutcome, StoredMessage } from "../../../libs/streams/broker.ts";

const SCHEDULE = "Nats-Schedule";
const TARGET = "Nats-Schedule-Target";

export interface StreamKind {
  readonly name: string;
  /** An acknowledged message is removed. */
  readonly workqueue: boolean;
  /** Only the last message of each subject is kept, as in a bucket. */
  readonly lastOnly: boolean;
}

/** One stream: messages in the order of their sequences, which never repeat while it lives. */
export class MemoryStream {
  readonly kind: StreamKind;
  readonly #nextNanos: () => bigint;
  #messages = new Map<number, StoredMessage>();
  /** By subject, in the order of sequences; none is empty. */
  #bySubject = new Map<string, StoredMessage[]>();
  /** What each subject's last message was before the present one: what a replica that lags still answers. */
  #former = new Map<string, StoredMessage | undefined>();
  #lastSeq = 0;

  constructor(kind: StreamKind, nextNanos: () => bigint) {
    this.kind = kind;
    this.#nextNanos = nextNanos;
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  messages(): StoredMessage[] {
    return [...this.#messages.values()];
  }

  get(seq: number): StoredMessage | undefined {
    return this.#messages.get(seq);
  }

  last(subject: string): StoredMessage | undefined {
    return this.#bySubject.get(subject)?.at(-1);
  }

  formerLast(subject: string): StoredMessage | undefined {
    return this.#former.get(subject);
  }

  lastOfEach(): StoredMessage[] {
    return [...this.#bySubject.values()].flatMap((messages) => messages.slice(-1));
  }

  publish({ subject, headers, body, expectedLastSequence }: Publication): PublishOutcome {
    if ((this.last(subject)?.seq ?? 0) !== expectedLastSequence) return { kind: "wrongLastSequence" };
    const all = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));
    return {
      kind: "stored",
      seq: this.append(subject, all, typeof body === "string" ? new TextEncoder().encode(body) : body).seq,
    };
  }

  append(subject: string, headers: StoredMessage["headers"], data: Uint8Array): StoredMessage {
    this.#lastSeq += 1;
    const stored = { stream: this.kind.name, subject, seq: this.#lastSeq, storedAt: String(this.#nextNanos()), headers, data };
    const former = this.last(subject);
    this.#former.set(subject, former);
    if (this.kind.lastOnly && former !== undefined) this.remove(former.seq);
    this.#messages.set(stored.seq, stored);
    this.#bySubject.set(subject, [...(this.#bySubject.get(subject) ?? []), stored]);
    return stored;
  }

  remove(seq: number): void {
    const gone = this.#messages.get(seq);
    if (gone === undefined) return;
    this.#messages.delete(seq);
    const rest = this.#bySubject.get(gone.subject)?.filter((message) => message.seq !== seq) ?? [];
    if (rest.length === 0) this.#bySubject.delete(gone.subject);
    else this.#bySubject.set(gone.subject, rest);
  }

  /** The sleeping messages whose time has come. */
  dueSchedules(nowMs: number): StoredMessage[] {
    return this.lastOfEach().filter(({ headers }) => {
      const at = headers[SCHEDULE]?.[0]?.replace(/^@at /, "");
      return at !== undefined && Date.parse(at) <= nowMs;
    });
  }

  /** ADR-51: the message appears under its target and, `keep` aside, the schedule goes; a server that dies between both fires again. */
  fire(schedule: StoredMessage, options: { readonly keep: boolean }): void {
    const { [SCHEDULE]: _schedule, [TARGET]: target, ...headers } = schedule.headers;
    if (!options.keep) this.remove(schedule.seq);
    const marks = { "Nats-Scheduler": [schedule.subject], "Nats-Schedule-Next": ["purge"] };
    this.append(target?.[0] ?? "", { ...headers, ...marks }, schedule.data);
  }

  /** Restores this state into the stream that it was taken of. */
  snapshot(): () => void {
    const [messages, bySubject, lastSeq] = [new Map(this.#messages), new Map(this.#bySubject), this.#lastSeq];
    return () => {
      this.#messages = new Map(messages);
      this.#bySubject = new Map(bySubject);
      this.#lastSeq = lastSeq;
    };
  }
}
