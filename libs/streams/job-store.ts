import type { NatsConnection } from "@nats-io/transport-node";
import type { Instance } from "../contract/names.ts";
import type { Broker } from "./broker.ts";
import { DeadLetters, type KeptLogs } from "./dead-letters.ts";
import { JetStreamBroker } from "./jetstream-broker.ts";
import { JobActions } from "./job-actions.ts";
import { JobEvents } from "./job-events.ts";
import { LogTails } from "./log-tails.ts";
import { SourceMessages } from "./messages.ts";
import { OncePublisher } from "./publish-once.ts";
import { RecordStore } from "./records.ts";
import { Retries } from "./retries.ts";
import { Settler, type SettlerOptions } from "./settle.ts";

/** Everything durable that is known of jobs. */
export interface JobStore {
  readonly records: RecordStore;
  readonly events: JobEvents;
  readonly deadLetters: DeadLetters;
  readonly retries: Retries;
  readonly messages: SourceMessages;
  readonly settler: Settler;
  readonly actions: JobActions;
}

export async function openJobStore(options: {
  readonly connection: NatsConnection;
  readonly instance: Instance;
  readonly onOutcome?: SettlerOptions["onOutcome"];
}): Promise<JobStore & { readonly logs: LogTails; readonly broker: Broker }> {
  const logs = await LogTails.open(options.connection);
  const broker = await JetStreamBroker.open(options.connection);
  const { instance, onOutcome } = options;
  return { ...jobStore({ broker, instance, logs, nowMs: Date.now, onOutcome }), logs, broker };
}

export function jobStore(options: {
  readonly broker: Broker;
  readonly instance: Instance;
  readonly logs: KeptLogs;
  readonly nowMs: () => number;
  readonly onOutcome?: SettlerOptions["onOutcome"];
}): JobStore {
  const { broker, instance, logs, nowMs, onOutcome } = options;
  const once = new OncePublisher({ broker });
  const records = new RecordStore({ broker });
  const messages = new SourceMessages({ broker });
  const events = new JobEvents({ broker, instance, once });
  const deadLetters = new DeadLetters({ broker, once, logs });
  const retries = new Retries({ broker, nowMs });
  const settler = new Settler({ records, events, deadLetters, retries, messages, onOutcome });
  const actions = new JobActions({ records, settler, nowMs });
  return { records, events, deadLetters, retries, messages, settler, actions };
}
