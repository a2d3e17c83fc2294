import { type JetStreamClient, type JsMsg, jetstream } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import { STREAM, workConsumerName } from "../../../libs/contract/streams.ts";
import { workAtSubject, workHash, workRunSubject } from "../../../libs/contract/work-subjects.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import { Metrics } from "../../../libs/runtime/metrics.ts";
import { BrokerLink } from "../../../libs/streams/broker-link.ts";
import { NatsTestServer } from "../../../libs/streams/testing/nats-server.ts";
import { queuesOf, Workbench } from "../../../libs/streams/testing/workbench.ts";
import { ScalerServer } from "../scaler-server.ts";
import { WorkerWatches } from "../worker-watches.ts";
import { KedaClient, type Metadata } from "./keda-client.ts";

/** No poll comes in a test that is not about polls. */
export const NEVER_MS = 3_600_000;

export interface Said {
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A scaler with a connection of its own, and a KEDA at it. */
export class Scaler implements AsyncDisposable {
  readonly watches: WorkerWatches;
  readonly server: ScalerServer;
  readonly keda: KedaClient;
  readonly metrics: Metrics;
  readonly connection: NatsConnection;
  readonly said: readonly Said[];

  private constructor(options: Pick<Scaler, "watches" | "server" | "keda" | "metrics" | "connection" | "said">) {
    this.watches = options.watches;
    this.server = options.server;
    this.keda = options.keda;
    this.metrics = options.metrics;
    this.connection = options.connection;
    this.said = options.said;
  }

  static async open(
    nats: NatsTestServer,
    options: { readonly pollMs?: number; readonly unusedAfterMs?: number; readonly connection?: NatsConnection } = {},
  ): Promise<Scaler> {
    const connection = options.connection ?? (await nats.connect());
    const metrics = new Metrics("scaler");
    const said: Said[] = [];
    const say = (event: string, fields = {}): void => void said.push({ event, fields });
    const log: Log = { debug: say, info: say, warn: say, error: say };
    const link = new BrokerLink();
    void link.follow(connection);
    const watches = await WorkerWatches.open({
      connection,
      away: () => link.reached.problem(),
      pollMs: options.pollMs ?? NEVER_MS,
      ...(options.unusedAfterMs === undefined ? {} : { unusedAfterMs: options.unusedAfterMs }),
      metrics,
      log,
    });
    const server = new ScalerServer({ port: 0, watches, metrics, log });
    await watches.start();
    await server.start();
    metrics.beforeScrape(() => watches.measure());
    return new Scaler({ watches, server, keda: new KedaClient(server.port), metrics, connection, said });
  }

  events(event: string): Said[] {
    return this.said.filter((said) => said.event === event);
  }

  async metric(name: string): Promise<string[]> {
    return (await this.metrics.text()).split("\n").filter((line) => line.startsWith(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.keda[Symbol.dispose]();
    await this.server.stop();
    await this.watches.stop();
    await this.connection.close();
  }
}

/** A worker with its consumers, of a subject that nobody else has. */
export class TestWorker {
  readonly name: string;
  readonly subject: string;
  readonly metadata: Metadata;
  readonly #client: JetStreamClient;

  constructor(name: string, client: JetStreamClient) {
    this.name = name;
    this.subject = `image.${name}`;
    this.metadata = { worker: name, subject: this.subject, lagThreshold: "2" };
    this.#client = client;
  }

  async publish(body = "{}"): Promise<void> {
    await this.#client.publish(this.subject, body);
  }

  /** A retry that becomes due by the broker's clock after so long. Returns when. */
  async sleep(afterMs: number): Promise<number> {
    const dueMs = Date.now() + afterMs;
    const hash = workHash(crypto.randomUUID());
    const head = headers();
    head.set("Nats-Schedule", `@at ${new Date(dueMs).toISOString()}`);
    head.set("Nats-Schedule-Target", workRunSubject(this.name, hash, 2));
    await this.#client.publish(workAtSubject(this.name, hash, 2), "{}", { headers: head });
    return dueMs;
  }

  /** A retry that is due when it is made. */
  async due(): Promise<void> {
    await this.#client.publish(workRunSubject(this.name, workHash(crypto.randomUUID()), 2), "{}");
  }

  /** One message, which is being worked on until it is acknowledged. */
  async take(stream: string = STREAM.work): Promise<JsMsg> {
    const consumer = await this.#client.consumers.get(stream, workConsumerName(this.name));
    const message = await consumer.next({ expires: 10_000 });
    if (message === null) throw new Error("nothing was delivered");
    return message;
  }

  async work(stream: string = STREAM.work): Promise<void> {
    await (await this.take(stream)).ackAck();
  }
}

/** A broker whose workers come as tests want them. */
export class ScalerBench implements AsyncDisposable {
  readonly nats: NatsTestServer;
  readonly streams: Workbench;
  readonly #subjects: Record<string, { subject: string }> = {};

  private constructor(nats: NatsTestServer, streams: Workbench) {
    this.nats = nats;
    this.streams = streams;
  }

  static async open(): Promise<ScalerBench> {
    const nats = await NatsTestServer.start();
    return new ScalerBench(nats, await Workbench.open(nats, { queues: [] }));
  }

  /** Its consumers are there; `unprovisioned` has none yet. */
  async worker(): Promise<TestWorker> {
    const worker = this.unprovisioned();
    await this.provision(worker);
    return worker;
  }

  unprovisioned(): TestWorker {
    return new TestWorker(`w-${crypto.randomUUID().slice(0, 8)}`, jetstream(this.streams.connection));
  }

  async provision({ name, subject }: TestWorker): Promise<void> {
    this.#subjects[name] = { subject };
    await this.streams.provisioner.consumers(queuesOf([], this.#subjects));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.nats[Symbol.asyncDispose]();
  }
}
