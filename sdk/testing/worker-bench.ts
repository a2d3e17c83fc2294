import { randomUUID } from "node:crypto";
import { headers } from "@nats-io/transport-node";
import { jsonOf } from "../../libs/contract/ascii-json.ts";
import { BUCKET, bucketStream, STREAM, workConsumerName } from "../../libs/contract/streams.ts";
import type { ClaimHolder } from "../../libs/contract/work-claim.ts";
import type { Broker, StoredMessage } from "../../libs/streams/broker.ts";
import { ClaimStore, type StoredClaim } from "../../libs/streams/claims.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { queuesOf, Workbench } from "../../libs/streams/testing/workbench.ts";
import { Heartbeats } from "../src/heartbeat/heartbeats.ts";
import type { HeartbeatPort } from "../src/heartbeat-port.ts";
import type { Handler, Worker } from "../src/index.ts";
import { defineWorker } from "../src/index.ts";
import type { StandardSchema } from "../src/standard-schema.ts";
import { workerSettings } from "../src/worker-env.ts";
import { WorkerProcess } from "../src/worker-process.ts";
import { HeardLog } from "./heard-log.ts";

export interface RunningWorker extends AsyncDisposable {
  readonly log: HeardLog;
  readonly process: WorkerProcess;
  /** Where the probes are answered. */
  readonly url: string;
  /** SIGTERM. */
  stop(): void;
  /** The second one. */
  force(): void;
  /** Resolves when it has drained. */
  readonly ended: Promise<void>;
}

export interface WorkerPlan {
  readonly handler: Handler<unknown>;
  readonly schema?: StandardSchema;
  readonly body?: "bytes";
  readonly env?: NodeJS.ProcessEnv;
  readonly broker?: (broker: Broker) => Broker;
  readonly requestMs?: number;
  /** Without the second thread, so that nothing is renewed. */
  readonly isLight?: boolean;
}

/** Due at once. */
export const NOW = JSON.stringify({ backoff: { delays: ["0s"] } });
export const LATER = JSON.stringify({ backoff: { delays: ["1h"] } });

/** Workers of a real installation's streams, in this process, each with a heartbeat thread of its own. */
export class WorkerBench implements AsyncDisposable {
  readonly server: NatsTestServer;
  readonly streams: Workbench;
  readonly claims: ClaimStore;
  readonly ackWaitMs: number;
  readonly #running: RunningWorker[] = [];

  private constructor(server: NatsTestServer, streams: Workbench, ackWaitMs: number) {
    this.server = server;
    this.streams = streams;
    this.claims = new ClaimStore({ broker: streams.store.broker });
    this.ackWaitMs = ackWaitMs;
  }

  /** Each worker takes the subject `<its name>.>`. */
  static async open(names: readonly string[], ackWaitMs = 2_000, config: readonly string[] = []): Promise<WorkerBench> {
    const server = await NatsTestServer.start({ config: config.join("\n") });
    const streams = await Workbench.open(server, { queues: [], workers: workersOf(names), ackWaitMs });
    return new WorkerBench(server, streams, ackWaitMs);
  }

  /** What the monitor does when the chart's values say so. */
  async provision(names: readonly string[]): Promise<void> {
    await this.streams.provisioner.consumers(queuesOf([], workersOf(names)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopAll();
    await this.server[Symbol.asyncDispose]();
  }

  /** At once, whatever they do. */
  async stopAll(): Promise<void> {
    await Promise.all(this.#running.splice(0).map((running) => running[Symbol.asyncDispose]()));
  }

  worker(name: string, { handler, schema, body }: Pick<WorkerPlan, "handler" | "schema" | "body">): Worker {
    if (body === "bytes") return defineWorker({ queue: name, body, handler });
    return schema === undefined ? defineWorker({ queue: name, handler }) : defineWorker({ queue: name, schema, handler });
  }

  /** A process of its own pod, as far as the broker can tell. */
  start(name: string, plan: WorkerPlan): RunningWorker {
    const env = {
      NATS_URL: this.server.url,
      ACK_WAIT: `${this.ackWaitMs}ms`,
      HTTP_SERVER_PORT: "0",
      POD_UID: randomUUID(),
      POD_NAME: `pod-${this.#running.length}`,
      MILLRACE_TIMEOUT: "30s",
      MILLRACE_RETRY: NOW,
      ...plan.env,
    };
    const { worker, settings } = workerSettings([this.worker(name, plan)], env);
    const log = new HeardLog();
    let heartbeats: Heartbeats | undefined;
    const process = new WorkerProcess({
      worker,
      settings,
      log,
      requestMs: plan.requestMs ?? 300,
      ...(plan.broker === undefined ? {} : { broker: plan.broker }),
      heartbeats: (told) => {
        if (plan.isLight === true) return new NoHeartbeats();
        heartbeats = new Heartbeats({
          settings: settings.nats,
          worker: name,
          ackWaitMs: settings.ackWaitMs,
          httpPort: settings.httpPort,
          log,
          ...told,
        });
        return heartbeats;
      },
    });
    const stop = new AbortController();
    const force = new AbortController();
    const ended = process.run({ stop: stop.signal, force: force.signal });
    const running: RunningWorker = {
      log,
      process,
      get url() {
        return `http://127.0.0.1:${heartbeats?.port}`;
      },
      stop: () => stop.abort(),
      force: () => force.abort(),
      ended,
      async [Symbol.asyncDispose]() {
        stop.abort();
        force.abort();
        await ended;
      },
    };
    this.#running.push(running);
    return running;
  }

  async publish(subject: string, body: unknown, head: Readonly<Record<string, string>> = {}): Promise<number> {
    const given = headers();
    for (const [name, value] of Object.entries(head)) given.set(name, value);
    const data = body instanceof Uint8Array || typeof body === "string" ? body : JSON.stringify(body);
    return (await this.streams.client.publish(subject, data, { headers: given })).seq;
  }

  /** Waits that only the broker's state can end. */
  async until<T>(read: () => Promise<T>, holds: (value: T) => boolean, withinMs = 15_000): Promise<T> {
    const giveUpAtMs = performance.now() + withinMs;
    for (;;) {
      const value = await read();
      if (holds(value)) return value;
      if (performance.now() > giveUpAtMs) throw new Error(`still ${JSON.stringify(value)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** What waits and what is in flight of both consumers: KEDA's lag. */
  async lag(name: string): Promise<number> {
    const infos = await Promise.all(
      [STREAM.work, STREAM.workRetry].map((stream) => this.streams.manager.consumers.info(stream, workConsumerName(name))),
    );
    return infos.reduce((sum, info) => sum + info.num_pending + info.num_ack_pending, 0);
  }

  /** Everything that is left of a worker's messages, as `<stream> <subject without the identity>`. */
  async left(name: string): Promise<string[]> {
    const found = await Promise.all([
      this.streams.counts(STREAM.work, `${name}.>`),
      this.streams.counts(STREAM.workRetry, `work.*.${name}.>`),
    ]);
    return found
      .flatMap((counts) => Object.entries(counts))
      .flatMap(([subject, count]) => Array.from({ length: count }, () => subject.replace(/[a-z2-7]{20}\./, "")))
      .toSorted();
  }

  async deadLetters(name: string): Promise<{ readonly header: (name: string) => unknown; readonly body: Uint8Array }[]> {
    const subjects = Object.keys(await this.streams.counts(STREAM.deadLetters, `dlq.work.${name}.>`));
    const entries = await Promise.all(subjects.map((subject) => this.streams.store.broker.last(STREAM.deadLetters, subject)));
    return entries.filter((entry) => entry !== undefined).map(asEntry);
  }

  /** Keys of claims that are there. */
  async claimed(name: string): Promise<string[]> {
    const prefix = `$KV.${BUCKET.claims}.`;
    const subjects = Object.keys(
      await this.streams.counts(bucketStream(BUCKET.claims), `${prefix}*.${workConsumerName(name)}.>`),
    );
    const keys = subjects.map((subject) => subject.slice(prefix.length));
    const slots = await Promise.all(keys.map(async (key) => ({ key, slot: await this.claims.get(key) })));
    return slots.filter(({ slot }) => slot.stored !== undefined).map(({ key }) => key);
  }

  /** When nothing of the worker's messages is left but what the DLQ has. */
  async settled(name: string): Promise<void> {
    await this.until(
      async () => {
        const keys = await this.claimed(name);
        const claims = keys.map(async (key) => `${key} ${JSON.stringify(await this.claims.get(key))}`);
        return [...(await this.left(name)), ...(await Promise.all(claims))];
      },
      (left) => left.length === 0,
    );
  }

  /** The claim of a worker's only message. */
  async claimOf(name: string): Promise<StoredClaim> {
    const [key = ""] = await this.until(
      () => this.claimed(name),
      (keys) => keys.length === 1,
    );
    const { stored } = await this.claims.get(key);
    if (stored === undefined) throw new Error(`no claim ${key}`);
    return stored;
  }

  /** Resolves when the claim of a worker's only message has been written so many times more: three renewals are about one ack_wait. */
  async renewed(name: string, times: number): Promise<StoredClaim> {
    let last = await this.claimOf(name);
    for (let count = 0; count < times; count += 1) {
      const { revision } = last;
      last = await this.until(
        () => this.claimOf(name),
        (found) => found.revision > revision,
      );
    }
    return last;
  }

  /** Writes another holder into the claim of a worker's only message, between two of its renewals. */
  async stolen(name: string, holder: ClaimHolder): Promise<void> {
    for (;;) {
      const { key, claim, revision } = await this.claimOf(name);
      if ((await this.claims.swap(key, { ...claim, holder }, revision)).kind === "won") return;
    }
  }

  /** Somebody's negative acknowledgement: the broker delivers the message once more, at once. */
  async deliverAgain(name: string): Promise<void> {
    const { claim } = await this.claimOf(name);
    this.streams.connection.publish(claim.ack, "-NAK");
    await this.streams.connection.flush();
  }
}

/** Leases that run out. */
class NoHeartbeats implements HeartbeatPort {
  readonly #revisions = new Map<string, number>();

  start(): Promise<void> {
    return Promise.resolve();
  }
  hold({ key, revision }: Parameters<HeartbeatPort["hold"]>[0]): void {
    this.#revisions.set(key, revision);
  }
  handlerEnded(): void {}
  release(key: string): Promise<{ readonly revision: number } | undefined> {
    const revision = this.#revisions.get(key);
    this.#revisions.delete(key);
    return Promise.resolve(revision === undefined ? undefined : { revision });
  }
  setReadiness(): void {}
  stop(): Promise<void> {
    return Promise.resolve();
  }
}

const workersOf = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, { subject: `${name}.>` }]));

function asEntry({ headers: found, data }: StoredMessage) {
  return { header: (name: string): unknown => jsonOf(found[name]?.[0]) ?? found[name]?.[0], body: data };
}
