import { type JetStreamManager, type JsMsg, jetstreamManager, type StoredMsg } from "@nats-io/jetstream";
import type { MsgHdrs, NatsConnection } from "@nats-io/transport-node";
import { MillraceError } from "../contract/errors.ts";
import type { KeptMessage } from "../contract/event.ts";
import { type MessageSource, nanosOfTimestamp, parseAckSubject, sameSource } from "../contract/source.ts";
import { isMissing } from "./errors.ts";

const ACK = "+ACK";
const IN_PROGRESS = "+WPI";
const ACK_ANSWER_MS = 5_000;

/** Messages in JOBS and RETRY by their source. Everything that reads or removes one checks sequence *and* store time (rules S1, S4). */
export class SourceMessages {
  readonly #connection: NatsConnection;
  readonly #manager: JetStreamManager;

  private constructor(connection: NatsConnection, manager: JetStreamManager) {
    this.#connection = connection;
    this.#manager = manager;
  }

  static async open(connection: NatsConnection): Promise<SourceMessages> {
    return new SourceMessages(connection, await jetstreamManager(connection));
  }

  async read(source: MessageSource): Promise<KeptMessage | undefined> {
    const stored = await this.#find(source);
    return stored === undefined ? undefined : keptMessage(stored.subject, stored.header, stored.data);
  }

  /**
   * S4: the message is gone when this resolves, and the server has said so. The reply subject may be stale or its consumer made anew; then
   * the message is deleted by sequence, after the same check.
   */
  async remove(source: MessageSource, ackSubject: string | undefined): Promise<void> {
    if ((await this.#find(source)) === undefined) return;
    if (ackSubject !== undefined && (await this.#doubleAck(source, ackSubject))) return;
    if ((await this.#find(source)) === undefined) return;
    try {
      await this.#manager.streams.deleteMessage(source.stream, source.seq, false);
    } catch (error) {
      if (await this.#find(source)) throw error;
    }
  }

  /** L1: `+WPI` works from any connection; it is fire-and-forget, a lost one is made up for by the next. */
  renew(ackSubject: string): void {
    if (parseAckSubject(ackSubject) !== undefined) this.#connection.publish(ackSubject, IN_PROGRESS);
  }

  async #doubleAck(source: MessageSource, ackSubject: string): Promise<boolean> {
    const named = parseAckSubject(ackSubject);
    if (named === undefined || !sameSource(named, source)) return false;
    try {
      await this.#connection.request(ackSubject, ACK, { timeout: ACK_ANSWER_MS });
      return true;
    } catch {
      // No responder (the consumer is gone) and no answer mean the same: not known to be acknowledged.
      return false;
    }
  }

  async #find(source: MessageSource): Promise<StoredMsg | undefined> {
    try {
      const stored = await this.#manager.streams.getMessage(source.stream, { seq: source.seq });
      return stored !== null && nanosOfTimestamp(stored.timestamp) === source.storedAt ? stored : undefined;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }
}

/** The reply subject of a delivery. The client's type leaves it out; its message has it, and renewing from another process needs it. */
export function replySubject(message: JsMsg): string {
  if ("reply" in message && typeof message.reply === "string") return message.reply;
  throw new MillraceError("INTERNAL", "the JetStream client no longer exposes the reply subject of a message");
}

export function headerValues(head: MsgHdrs | undefined): Record<string, string[]> {
  return head === undefined ? {} : Object.fromEntries([...head].map(([name, values]) => [name, [...values]]));
}

export function keptMessage(subject: string, head: MsgHdrs | undefined, body: Uint8Array): KeptMessage {
  return { subject, headers: headerValues(head), bodyBase64: Buffer.from(body).toString("base64") };
}
