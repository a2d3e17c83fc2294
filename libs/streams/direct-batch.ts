import type { JetStreamManager, StoredMsg } from "@nats-io/jetstream";

export interface DirectBatchQuery {
  readonly stream: string;
  /** May hold wildcards. */
  readonly filter: string;
  /** The first sequence that may be in the answer. */
  readonly fromSeq: number;
  readonly count: number;
  readonly maxBytes?: number;
}

export interface DirectBatchAnswer {
  readonly messages: readonly StoredMsg[];
  /** How many more match. */
  readonly pending: number;
}

const ANSWER_MS = 10_000;

/** Stored messages under a filter, oldest first, in one request and without a consumer. Any replica may answer, so it is for showing, not for deciding. */
export async function directBatch(manager: JetStreamManager, query: DirectBatchQuery): Promise<DirectBatchAnswer> {
  const messages: StoredMsg[] = [];
  const { promise: complete, resolve, reject } = Promise.withResolvers<void>();
  const answers = await manager.direct.getBatch(query.stream, {
    seq: query.fromSeq,
    next_by_subj: query.filter,
    batch: query.count,
    ...(query.maxBytes === undefined ? {} : { max_bytes: query.maxBytes }),
    // Iterated over instead, the client (3.4.0) would leave one subscription behind for each read.
    callback: (done, message) => {
      if (done === null) messages.push(message);
      else if (done.err === undefined || isNothing(done.err)) resolve();
      else reject(done.err);
    },
  });
  const timer = setTimeout(() => answers.stop(new Error("the broker's answer stayed incomplete")), ANSWER_MS);
  await complete.finally(() => clearTimeout(timer));
  return { messages, pending: Math.max(0, messages.at(-1)?.pending ?? 0) };
}

/** The answer's status when no message matches (ADR-31), which the client gives on as an error. */
function isNothing(error: Error): boolean {
  return "code" in error && error.code === 404;
}

/** How many messages are stored under a filter: the broker counts, at the price of one message. */
export async function countUnder(manager: JetStreamManager, stream: string, filter: string): Promise<number> {
  const { messages, pending } = await directBatch(manager, { stream, filter, fromSeq: 1, count: 1 });
  return messages.length + pending;
}
