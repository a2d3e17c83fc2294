import { type JetStreamManager, jetstreamManager, type StoredMsg } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import type { JobFacts } from "../../../libs/contract/explain.ts";
import { MSG_ID_HEADER, messageId, openMessage } from "../../../libs/contract/message-identity.ts";
import { nanosOfTimestamp } from "../../../libs/contract/source.ts";
import { STREAM } from "../../../libs/contract/streams.ts";
import { jobsFilter } from "../../../libs/contract/subjects.ts";
import { directBatch } from "../../../libs/streams/direct-batch.ts";

const BATCH = 100;
const MESSAGES_MAX = 1_000;
const BATCH_BYTES = 8 * 1024 * 1024;

/** Finds the message of an id in JOBS, where only reading tells whose it is: the first thousand of a queue, no more. */
export class WaitingMessages {
  readonly #manager: JetStreamManager;

  private constructor(manager: JetStreamManager) {
    this.#manager = manager;
  }

  static async open(connection: NatsConnection): Promise<WaitingMessages> {
    return new WaitingMessages(await jetstreamManager(connection));
  }

  /** `deliveredSeq`: the last sequence that the queue's consumer handed out. */
  async find(options: {
    readonly queue: string;
    readonly id: string;
    readonly deliveredSeq: number;
    readonly signal: AbortSignal;
  }): Promise<JobFacts["message"]> {
    const { queue, id, deliveredSeq, signal } = options;
    const filter = jobsFilter(queue);
    let fromSeq = 1;
    let ahead = 0;
    for (let read = 0; read < MESSAGES_MAX && !signal.aborted; ) {
      const query = { stream: STREAM.jobs, filter, fromSeq, count: BATCH, maxBytes: BATCH_BYTES };
      const { messages, pending } = await directBatch(this.#manager, query);
      for (const message of messages) {
        const delivered = message.seq <= deliveredSeq;
        if (idOf(message) === id) return delivered ? { kind: "delivered" } : { kind: "inLine", ahead };
        if (!delivered) ahead += 1;
      }
      read += messages.length;
      fromSeq = (messages.at(-1)?.seq ?? 0) + 1;
      if (pending === 0 || messages.length === 0) break;
    }
    return undefined;
  }
}

/** As the dispatcher reads it (rule D1); undefined when it will be rejected. */
function idOf(message: StoredMsg): string | undefined {
  const opened = openMessage(message.data, message.header ?? []);
  if (opened.kind === "rejected") return undefined;
  const source = { stream: STREAM.jobs, seq: message.seq, storedAt: nanosOfTimestamp(message.timestamp) };
  const id = messageId(opened.value, message.header?.get(MSG_ID_HEADER) ?? "", source);
  return id.kind === "ok" ? id.value : undefined;
}
