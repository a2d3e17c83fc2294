import type { NatsConnection } from "@nats-io/transport-node";
import type { Instance } from "../contract/names.ts";
import { DeadLetters } from "./dead-letters.ts";
import { JobEvents } from "./job-events.ts";
import { SourceMessages } from "./messages.ts";
import { OncePublisher } from "./publish-once.ts";
import { RecordStore } from "./records.ts";
import { Settler } from "./settle.ts";

/** Everything durable that is known of jobs, over one connection. */
export interface JobStore {
  readonly records: RecordStore;
  readonly events: JobEvents;
  readonly deadLetters: DeadLetters;
  readonly messages: SourceMessages;
  readonly settler: Settler;
}

export async function openJobStore(options: {
  readonly connection: NatsConnection;
  readonly instance: Instance;
}): Promise<JobStore> {
  const { connection, instance } = options;
  const once = await OncePublisher.open(connection);
  const records = await RecordStore.open(connection);
  const messages = await SourceMessages.open(connection);
  const events = await JobEvents.open({ connection, instance, once });
  const deadLetters = await DeadLetters.open({ connection, once });
  return { records, events, deadLetters, messages, settler: new Settler({ records, events, deadLetters, messages }) };
}
