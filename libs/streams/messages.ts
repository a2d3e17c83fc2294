import type { JsMsg } from "@nats-io/jetstream";
import { MillraceError } from "../contract/errors.ts";
import type { KeptMessage } from "../contract/event.ts";
import { parseRetryMessage } from "../contract/retry-message.ts";
import { type MessageSource, parseAckSubject, sameSource } from "../contract/source.ts";
import { STREAM } from "../contract/streams.ts";
import type { Broker, StoredMessage } from "./broker.ts";

/** Messages in JOBS and RETRY by their source. Everything that reads or removes one checks sequence *and* store time (rules S1, S4). */
export class SourceMessages {
  readonly #broker: Broker;

  constructor(options: { readonly broker: Broker }) {
    this.#broker = options.broker;
  }

  /** The message as its producer published it. */
  async read(source: MessageSource): Promise<KeptMessage | undefined> {
    const stored = await this.#find(source);
    return stored === undefined ? undefined : keptMessage(stored);
  }

  /**
   * S4: the message is gone when this resolves, and the server has said so. The reply subject may be stale or its consumer made anew; then
   * the message is deleted by sequence, after the same check.
   */
  async remove(source: MessageSource, ackSubject: string | undefined): Promise<void> {
    if ((await this.#find(source)) === undefined) return;
    if (ackSubject !== undefined && (await this.#doubleAck(source, ackSubject))) return;
    if ((await this.#find(source)) !== undefined) await this.#broker.remove(source.stream, source.seq);
  }

  /** L1: `+WPI` works from any connection; it is fire-and-forget, a lost one is made up for by the next. */
  renew(ackSubject: string): void {
    if (parseAckSubject(ackSubject) !== undefined) this.#broker.renew(ackSubject);
  }

  async #find(source: MessageSource): Promise<StoredMessage | undefined> {
    const stored = await this.#broker.bySequence(source.stream, source.seq);
    return stored?.storedAt === source.storedAt ? stored : undefined;
  }

  async #doubleAck(source: MessageSource, ackSubject: string): Promise<boolean> {
    const named = parseAckSubject(ackSubject);
    return named !== undefined && sameSource(named, source) && (await this.#broker.acknowledge(ackSubject));
  }
}

/** In RETRY the producer's subject and headers stand in headers of the engine's. */
export function keptMessage(stored: Omit<StoredMessage, "seq" | "storedAt">): KeptMessage {
  const retry = stored.stream === STREAM.retry ? parseRetryMessage(stored.subject, stored.headers) : undefined;
  const { subject, headers } = retry?.original ?? stored;
  return { subject, headers, bodyBase64: Buffer.from(stored.data).toString("base64") };
}

/** The reply subject of a delivery. The client's type leaves it out; its message has it, and renewing from another process needs it. */
export function replySubject(message: JsMsg): string {
  if ("reply" in message && typeof message.reply === "string") return message.reply;
  throw new MillraceError("INTERNAL", "the JetStream client no longer exposes the reply subject of a message");
}
