import { JetStreamApiError, JetStreamError } from "@nats-io/jetstream";
import { errors } from "@nats-io/transport-node";
import { isMillraceError } from "../contract/errors.ts";
import { WRONG_LAST_SEQUENCE } from "../contract/streams.ts";

/** Somebody else wrote this subject first. */
export function isWrongLastSequence(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === WRONG_LAST_SEQUENCE;
}

/** HTTP-like status of a JetStream API error: the stream, consumer or message is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.status === 404;
}

/** Somebody else wrote under the record's key, or it was damaged: nobody's message is at fault. */
export function isUnreadableRecord(error: unknown): boolean {
  return isMillraceError(error) && error.code === "RECORD_UNREADABLE";
}

/** The broker or the way to it is in trouble: the same call may succeed later. */
export function isBrokerTrouble(error: unknown): boolean {
  return (
    error instanceof JetStreamApiError || error instanceof JetStreamError || BROKER_ERRORS.some((kind) => error instanceof kind)
  );
}

const BROKER_ERRORS = [
  errors.ClosedConnectionError,
  errors.ConnectionError,
  errors.DrainingConnectionError,
  errors.NoRespondersError,
  errors.PermissionViolationError,
  errors.RequestError,
  errors.TimeoutError,
];

/** JetStream's error code for a stream that takes no more (`discard: new`). */
const STREAM_FULL = 10077;

export function isStreamFull(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === STREAM_FULL;
}
