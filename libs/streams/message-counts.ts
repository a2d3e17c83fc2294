import { AckPolicy, DeliverPolicy, type JetStreamManager } from "@nats-io/jetstream";
import { type NatsConnection, nanos } from "@nats-io/transport-node";
import { z } from "zod";
import { MillraceError } from "../contract/errors.ts";

/**
 * How many messages of a stream match, however many subjects they have: a consumer begins with their number. Not for work queues, where another
 * consumer of the same messages is refused.
 */
export async function countMessages(manager: JetStreamManager, stream: string, filter: string): Promise<number> {
  const { name, num_pending } = await manager.consumers.add(stream, {
    filter_subject: filter,
    deliver_policy: DeliverPolicy.All,
    ack_policy: AckPolicy.None,
    mem_storage: true,
    num_replicas: 1,
    inactive_threshold: nanos(30_000),
  });
  await manager.consumers.delete(stream, name);
  return num_pending;
}

const infoAnswer = z.object({ total: z.number().default(0), error: z.object({ description: z.string() }).optional() });

/** Beyond every stream: the answer lists none of the subjects, and says how many there are. */
const PAST_ALL = 2 ** 31;

/** How many subjects with messages match. Not by the client, which reads all the pages of their names. */
export async function countSubjects(connection: NatsConnection, stream: string, filter: string): Promise<number> {
  const question = JSON.stringify({ subjects_filter: filter, offset: PAST_ALL });
  const answer = infoAnswer.parse(
    (await connection.request(`$JS.API.STREAM.INFO.${stream}`, question, { timeout: 5_000 })).json(),
  );
  if (answer.error !== undefined) {
    throw new MillraceError("STREAM_UNAVAILABLE", `stream ${stream} cannot be counted: ${answer.error.description}`);
  }
  return answer.total;
}
