import type { JetStreamManager, NextMsgRequest, SeqMsgRequest, StoredMsg } from "@nats-io/jetstream";

/** The first message at or after a sequence of which the subject matches, read from the stream's leader; null when there is none. */
export function nextMessage(manager: JetStreamManager, stream: string, filter: string, seq: number): Promise<StoredMsg | null> {
  // The client's type knows this request for direct reads only, which RETRY does not allow.
  const query: SeqMsgRequest & NextMsgRequest = { seq, next_by_subj: filter };
  return manager.streams.getMessage(stream, query);
}
