import { type JetStreamClient, type JetStreamManager, type JsMsg, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import type { z } from "zod";
import { jobHash, messageHash } from "../../contract/names.ts";
import { type DispatchConfig, dispatchConfig } from "../../contract/queue-config.ts";
import type { JobRecord } from "../../contract/record.ts";
import { type MessageSource, parseAckSubject } from "../../contract/source.ts";
import { consumerName, STREAM } from "../../contract/streams.ts";
import { transition } from "../../contract/transition.ts";
import type { Broker } from "../broker.ts";
import { type JobStore, openJobStore } from "../job-store.ts";
import type { LogTails } from "../log-tails.ts";
import { replySubject } from "../messages.ts";
import { Provisioner } from "../provision.ts";
import type { NatsTestServer } from "./nats-server.ts";

export const INSTANCE = "millrace.test";

export interface Delivered {
  readonly message: JsMsg;
  readonly ack: string;
  readonly source: MessageSource;
}

/** A provisioned installation on a test server, and what a test asks of it. */
export class Workbench {
  readonly connection: NatsConnection;
  readonly store: JobStore & { readonly logs: LogTails; readonly broker: Broker };
  readonly client: JetStreamClient;
  readonly manager: JetStreamManager;
  readonly provisioner: Provisioner;

  private constructor(options: Pick<Workbench, "connection" | "store" | "client" | "manager" | "provisioner">) {
    this.connection = options.connection;
    this.store = options.store;
    this.client = options.client;
    this.manager = options.manager;
    this.provisioner = options.provisioner;
  }

  static async open(
    server: NatsTestServer,
    options: {
      readonly queues: readonly string[];
      /** By name, as values write them. */
      readonly workers?: z.input<typeof dispatchConfig>["workers"];
      readonly ackWaitMs?: number;
    },
  ): Promise<Workbench> {
    const connection = await server.connect();
    const provisioner = new Provisioner({
      connection,
      topology: {
        instance: INSTANCE,
        historyMs: 86_400_000,
        ackWaitMs: options.ackWaitMs ?? 120_000,
        replicas: 1,
        storeBytes: 900 * 2 ** 20,
      },
    });
    await provisioner.streams();
    await provisioner.consumers(queuesOf(options.queues, options.workers));
    return new Workbench({
      connection,
      provisioner,
      store: await openJobStore({ connection, instance: INSTANCE }),
      client: jetstream(connection),
      manager: await jetstreamManager(connection),
    });
  }

  async publish(queue: string, body: Uint8Array | string, head: Readonly<Record<string, string>> = {}): Promise<number> {
    const given = headers();
    for (const [name, value] of Object.entries(head)) given.set(name, value);
    return (await this.client.publish(`jobs.${queue}.hello`, body, { headers: given })).seq;
  }

  /** The next deliveries of a queue; waits for them. */
  async deliver(queue: string, count = 1, stream: string = STREAM.jobs): Promise<Delivered[]> {
    const consumer = await this.client.consumers.get(stream, consumerName(queue));
    const delivered: Delivered[] = [];
    while (delivered.length < count) {
      for await (const message of await consumer.fetch({ max_messages: count - delivered.length, expires: 10_000 })) {
        const ack = replySubject(message);
        const source = parseAckSubject(ack);
        if (source === undefined) throw new Error(`not a reply subject: ${ack}`);
        delivered.push({ message, ack, source });
      }
    }
    return delivered;
  }

  async one(queue: string, stream: string = STREAM.jobs): Promise<Delivered> {
    const [first] = await this.deliver(queue, 1, stream);
    if (first === undefined) throw new Error("nothing was delivered");
    return first;
  }

  /** A message that was published and delivered, and the record that a monitor writes at first sight of its Job. */
  async running(queue: string, id: string): Promise<Delivered & { readonly record: JobRecord }> {
    const body = JSON.stringify({ id, template: "hello" });
    await this.publish(queue, body);
    const delivered = await this.one(queue);
    const hash = jobHash(INSTANCE, queue, id);
    const seen = transition(undefined, {
      kind: "firstSight",
      id,
      hash,
      queue,
      type: "hello",
      messageHash: messageHash(new TextEncoder().encode(body)),
      source: delivered.source,
      attempt: 1,
      life: 1,
      job: { namespace: "jobs", name: `hello-${hash}-a1`, uid: `uid-${id}` },
      at: new Date().toISOString(),
    });
    if (seen.kind !== "moved") throw new Error("a first sight was refused");
    await this.store.records.swap(seen.record, 0);
    return { ...delivered, record: seen.record };
  }

  /** How many messages a stream holds under each subject of a filter. */
  async counts(stream: string, filter: string): Promise<Record<string, number>> {
    const info = await this.manager.streams.info(stream, { subjects_filter: filter });
    return info.state.subjects ?? {};
  }

  async count(stream: string, filter: string): Promise<number> {
    return Object.values(await this.counts(stream, filter)).reduce((sum, number) => sum + number, 0);
  }

  /** Everything that JOBS aside is kept of a job, each message as `<stream> <rest of its subject>`. */
  async kept(queue: string, hash: string): Promise<string[]> {
    const of: readonly (readonly [stream: string, name: string, prefix: string])[] = [
      [STREAM.retry, "at", `retry.at.${hash}.`],
      [STREAM.retry, "due", `retry.run.${queue}.${hash}.`],
      [STREAM.events, "event", `events.${queue}.${hash}.`],
      [STREAM.deadLetters, "dlq", `dlq.${queue}.hello.${hash}.`],
    ];
    const found = of.map(async ([stream, name, prefix]) =>
      Object.entries(await this.counts(stream, `${prefix}>`)).flatMap(([subject, count]) =>
        Array.from({ length: count }, () => `${name} ${subject.slice(prefix.length)}`),
      ),
    );
    return (await Promise.all(found)).flat().toSorted();
  }

  async holds(source: MessageSource): Promise<boolean> {
    return (await this.store.messages.read(source)) !== undefined;
  }
}

export function queuesOf(names: readonly string[], workers: z.input<typeof dispatchConfig>["workers"] = {}): DispatchConfig {
  return dispatchConfig.parse({ queues: Object.fromEntries(names.map((name) => [name, {}])), workers });
}
