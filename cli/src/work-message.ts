import { randomUUID } from "node:crypto";
import { JetStreamApiError, jetstream } from "@nats-io/jetstream";
import { errors, headers, type NatsConnection } from "@nats-io/transport-node";
import { MillraceError } from "../../libs/contract/errors.ts";
import { MSG_ID_HEADER } from "../../libs/contract/message-identity.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { workSubject } from "../../libs/contract/work-config.ts";
import { traceHeaders } from "./trace-headers.ts";

export interface WorkMessageOptions {
  readonly connection: NatsConnection;
  readonly subject: string;
  readonly body: Uint8Array;
  /** A random one by default. */
  readonly id: string | undefined;
  /** Of the process: `TRACEPARENT` and `TRACESTATE`, as a pipeline sets them. */
  readonly env?: NodeJS.ProcessEnv;
}

/** Whether a message to this subject is for a worker, by its name alone. */
export const isWorkSubject = (subject: string): boolean => !/[*>]/.test(subject) && workSubject.safeParse(subject).success;

/**
 * Publishes a message for a worker and returns its id, which is the broker's `Nats-Msg-Id`, too: the same one twice within two minutes is
 * stored once.
 * @throws MillraceError `NO_WORKER` when no worker takes this subject
 */
export async function publishWork({
  connection,
  subject,
  body,
  id = randomUUID(),
  env = {},
}: WorkMessageOptions): Promise<string> {
  const head = headers();
  head.set(MSG_ID_HEADER, id);
  for (const [name, value] of Object.entries(traceHeaders(env))) head.set(name, value);
  try {
    // Another stream of the same NATS may take the subject; its store is no promise that anybody works on it.
    await jetstream(connection).publish(subject, body, { headers: head, expect: { streamName: STREAM.work } });
  } catch (error) {
    if (!isUnclaimed(error)) throw error;
    const fix = "jobs go to jobs.<queue>.<type>; workers and their subjects are the chart's value `workers`";
    throw new MillraceError("NO_WORKER", `no worker takes ${subject}: ${fix}`, { cause: error });
  }
  return id;
}

/** JetStream's error code for a message that another stream than the expected one took. */
const WRONG_STREAM = 10060;

function isUnclaimed(error: unknown): boolean {
  if (error instanceof JetStreamApiError) return error.code === WRONG_STREAM;
  // The client takes silence for a server without JetStream.
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof errors.RequestError && cause.isNoResponders();
}
