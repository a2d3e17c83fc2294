import { JetStreamApiError } from "@nats-io/jetstream";
import { WRONG_LAST_SEQUENCE } from "../contract/streams.ts";

/** Somebody else wrote this subject first. */
export function isWrongLastSequence(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === WRONG_LAST_SEQUENCE;
}

/** HTTP-like status of a JetStream API error: the stream, consumer or message is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.status === 404;
}
