import type { NatsConnection } from "@nats-io/transport-node";
import { STREAM } from "../contract/streams.ts";
import type { WorkRetryConfig } from "../contract/work-config.ts";
import type { Broker } from "./broker.ts";
import { ClaimStore } from "./claims.ts";
import { JetStreamBroker } from "./jetstream-broker.ts";
import { JetStreamPulse } from "./jetstream-pulse.ts";
import { SourceMessages } from "./messages.ts";
import { OncePublisher } from "./publish-once.ts";
import { WorkRetries } from "./work-retries.ts";
import { WorkSettler } from "./work-settler.ts";

/** What a worker reads and writes, over one connection. */
export interface WorkStore {
  readonly broker: Broker;
  readonly claims: ClaimStore;
  readonly messages: SourceMessages;
  readonly settler: WorkSettler;
  /** To be started. */
  readonly pulse: JetStreamPulse;
  /** The negative acknowledgement: fire and forget, and made up for by ack_wait when it is lost. */
  handBack(ack: string): void;
}

export async function openWorkStore(options: {
  readonly connection: NatsConnection;
  readonly retry: WorkRetryConfig;
  readonly ackWaitMs: number;
  /** For tests that crash between its calls. */
  readonly broker?: (broker: Broker) => Broker;
}): Promise<WorkStore> {
  const { connection, retry, ackWaitMs } = options;
  const opened = await JetStreamBroker.open(connection, { clockStream: STREAM.work });
  const broker = options.broker?.(opened) ?? opened;
  const claims = new ClaimStore({ broker });
  const messages = new SourceMessages({ broker });
  const handBack = (ack: string): void => connection.publish(ack, "-NAK");
  const settler = new WorkSettler({
    broker,
    claims,
    messages,
    once: new OncePublisher({ broker }),
    retries: new WorkRetries({ broker, nowMs: Date.now }),
    retry,
    ackWaitMs,
    handBack,
  });
  return { broker, claims, messages, settler, pulse: new JetStreamPulse({ broker: opened, ackWaitMs }), handBack };
}
