import { createInbox, type Msg, type NatsConnection, type Subscription } from "@nats-io/transport-node";
import { type MessageSource, parseDelivery } from "../contract/source.ts";
import { headerValues } from "./jetstream-broker.ts";

/** A worker's message as a consumer delivered it. */
export interface PulledWork {
  readonly subject: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly data: Uint8Array;
  /** The reply subject. */
  readonly ack: string;
  readonly source: MessageSource;
  readonly consumer: string;
  /** How often it was delivered, this time included. */
  readonly delivery: number;
  /** When it was asked for, by `performance.now()`: it was delivered after that, and may have been on its way for as long. */
  readonly askedAtMs: number;
}

export interface PullRequest {
  readonly stream: string;
  readonly consumer: string;
  readonly batch: number;
  /** How long it waits for messages; 0: takes what is there. */
  readonly expiresMs: number;
}

/** How a request for messages ended. What it brought was handed on before. */
export type PullEnd =
  | { readonly kind: "filled" }
  /** There are no more messages, or its time is over. */
  | { readonly kind: "over" }
  /** The stream or the consumer is not there. */
  | { readonly kind: "missing" }
  | { readonly kind: "refused"; readonly why: string }
  /** No answer, or the connection went away. */
  | { readonly kind: "silent" };

/** Where messages come to. */
interface Inbox {
  readonly name: string;
  readonly subscription: Subscription;
  /** When the first of its requests was made that were given up: what comes now may be from that one. */
  silentSinceMs: number | undefined;
}

interface OpenRequest {
  /** The subject of its answers, which what the broker says itself comes under. */
  readonly reply: string;
  readonly inbox: Inbox;
  readonly askedAtMs: number;
  left: number;
  readonly resolve: (end: PullEnd) => void;
  readonly timer: NodeJS.Timeout;
}

/** How much longer than asked for an answer is waited for. */
const ANSWER_MS = 5_000;
/** Inboxes of requests that were given up, and whose messages may still come. What comes to one that was closed is lost for ack_wait. */
const FORMER_INBOXES = 4;

/**
 * Requests for messages, one at a time for each consumer, each of which says when it has ended.
 *
 * The client's own `consume` drops what is on the wire when it is stopped, which is then lost for ack_wait. Here a request cannot be taken back: it
 * ends by itself, and whatever comes meanwhile is handed on, so the inbox is closed only when none is open any more.
 *
 * A message does not say which request brought it, and how old its delivery may be is what W1 goes by (`askedAtMs`). So there is a new inbox after each
 * request that was given up: what comes to the former one is as old as that request.
 */
export class WorkPull {
  readonly #connection: NatsConnection;
  readonly #onMessage: (message: PulledWork) => void;
  readonly #answerMs: number;
  readonly #former: Inbox[] = [];
  #inbox: Inbox;
  /** By consumer: a message comes under its own subject, and its reply subject names only the consumer that it is from. */
  readonly #open = new Map<string, OpenRequest>();
  #requests = 0;

  /** `onMessage` is told of every message, also of one that comes after its request was given up. It must not throw. */
  constructor(options: {
    readonly connection: NatsConnection;
    readonly onMessage: (message: PulledWork) => void;
    readonly answerMs?: number;
  }) {
    this.#connection = options.connection;
    this.#onMessage = options.onMessage;
    this.#answerMs = options.answerMs ?? ANSWER_MS;
    this.#inbox = this.#openInbox();
    void this.#watch();
  }

  /** Never throws, and ends at once when the consumer is being asked already. */
  request({ stream, consumer, batch, expiresMs }: PullRequest): Promise<PullEnd> {
    const asked = `${stream}.${consumer}`;
    if (this.#open.has(asked)) return Promise.resolve({ kind: "refused", why: "it is being asked already" });
    const { promise, resolve } = Promise.withResolvers<PullEnd>();
    this.#requests += 1;
    const inbox = this.#inbox;
    const reply = `${inbox.name}.${this.#requests}`;
    const askedAtMs = performance.now();
    const timer = setTimeout(() => this.#giveUp(asked), expiresMs + this.#answerMs);
    this.#open.set(asked, { reply, inbox, askedAtMs, left: batch, resolve, timer });
    const wanted = expiresMs === 0 ? { batch, no_wait: true } : { batch, expires: expiresMs * 1_000_000 };
    try {
      this.#connection.publish(`$JS.API.CONSUMER.MSG.NEXT.${asked}`, JSON.stringify(wanted), { reply });
    } catch {
      this.#end(asked, { kind: "silent" });
    }
    return promise;
  }

  /** To be called when no request is open; what comes after it is lost for ack_wait. What is on its way already is handed on. */
  async close(): Promise<void> {
    try {
      await Promise.all([this.#inbox, ...this.#former].map(({ subscription }) => subscription.drain()));
    } catch {
      // The connection is closed, and the subscriptions with it.
    }
    this.#endAll({ kind: "silent" });
  }

  #openInbox(): Inbox {
    const name = createInbox();
    const subscription = this.#connection.subscribe(`${name}.*`, {
      callback: (error, message) => {
        if (error !== null) this.#endAll({ kind: "refused", why: error.message });
        else this.#hear(message, inbox);
      },
    });
    const inbox: Inbox = { name, subscription, silentSinceMs: undefined };
    return inbox;
  }

  #giveUp(asked: string): void {
    const open = this.#open.get(asked);
    if (open === undefined) return;
    const { inbox, askedAtMs } = open;
    inbox.silentSinceMs = Math.min(inbox.silentSinceMs ?? askedAtMs, askedAtMs);
    if (inbox === this.#inbox && !this.#connection.isClosed()) {
      this.#former.push(inbox);
      this.#inbox = this.#openInbox();
      if (this.#former.length > FORMER_INBOXES) this.#former.shift()?.subscription.unsubscribe();
    }
    this.#end(asked, { kind: "silent" });
  }

  #hear(message: Msg, inbox: Inbox): void {
    const delivered = message.reply === undefined ? undefined : parseDelivery(message.reply);
    if (message.reply === undefined || delivered === undefined) {
      this.#status(message);
      return;
    }
    const asked = `${delivered.source.stream}.${delivered.consumer}`;
    const open = this.#open.get(asked);
    const { subject, headers, data, reply: ack } = message;
    const askedAtMs = inbox.silentSinceMs ?? open?.askedAtMs ?? Number.NEGATIVE_INFINITY;
    this.#onMessage({ subject, headers: headerValues(headers), data, ack, askedAtMs, ...delivered });
    if (open?.inbox !== inbox) return;
    open.left -= 1;
    if (open.left === 0) this.#end(asked, { kind: "filled" });
  }

  #status(message: Msg): void {
    const asked = [...this.#open].find(([, open]) => open.reply === message.subject)?.[0];
    const end = endOf(message.headers?.code ?? 0, message.headers?.description ?? "");
    if (asked !== undefined && end !== undefined) this.#end(asked, end);
  }

  #end(asked: string, end: PullEnd): void {
    const open = this.#open.get(asked);
    if (open === undefined) return;
    this.#open.delete(asked);
    clearTimeout(open.timer);
    open.resolve(end);
  }

  #endAll(end: PullEnd): void {
    for (const asked of [...this.#open.keys()]) this.#end(asked, end);
  }

  /** A server that is there again knows nothing of what was asked of the one before. */
  async #watch(): Promise<void> {
    for await (const { type } of this.#connection.status()) {
      if (type === "disconnect") for (const asked of [...this.#open.keys()]) this.#giveUp(asked);
    }
  }
}

/** Undefined: a sign of life. */
function endOf(code: number, description: string): PullEnd | undefined {
  if (code === 100) return undefined;
  if (code === 404 || code === 408) return { kind: "over" };
  if (code === 503 || (code === 409 && /deleted/i.test(description))) return { kind: "missing" };
  return { kind: "refused", why: `${code} ${description}` };
}
