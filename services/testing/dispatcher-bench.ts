import type { NatsConnection } from "@nats-io/transport-node";
import { vi } from "vitest";
import { ANNOTATION, jobHash } from "../../libs/contract/names.ts";
import type { JobRecord, JobReference } from "../../libs/contract/record.ts";
import { retryConfig } from "../../libs/contract/retry-config.ts";
import { type MessageSource, sourceKey } from "../../libs/contract/source.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { transition } from "../../libs/contract/transition.ts";
import type { Failed } from "../../libs/contract/verdict.ts";
import { type LiveConfig, parseDispatchConfig } from "../../libs/kube/dispatch-config-source.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { FakeClock } from "../../libs/runtime/testing/fake-clock.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { type Delivered, INSTANCE, Workbench } from "../../libs/streams/testing/workbench.ts";
import { Admission } from "../dispatcher/admission.ts";
import { pulledMessage } from "../dispatcher/delivery.ts";
import { Dispatcher, type DispatcherOptions } from "../dispatcher/dispatcher.ts";
import { Rejections } from "../dispatcher/rejections.ts";
import { FakeCluster } from "./fake-cluster.ts";

export const QUEUE = "default";
export const ACK_WAIT_MS = 120_000;
const HISTORY_MS = 30 * 86_400_000;

const CONFIG = {
  queues: { [QUEUE]: { policy: { raw: true, namespaces: ["jobs", "full", "free"] } } },
  templates: {
    hello: {
      image: "busybox",
      command: ["echo", "hello $(params.name)"],
      resources: { limits: { memory: "64Mi" } },
      params: { type: "object", properties: { name: { type: "string" } }, additionalProperties: false },
    },
  },
};

/** A dispatcher between a real broker and a fake cluster. Its clock stands still; what is held waits until a test lets time pass. */
export class DispatcherBench implements AsyncDisposable {
  readonly server: NatsTestServer;
  readonly streams: Workbench;
  readonly #listener: NatsConnection;
  /** What was said on reply subjects, by anybody, in order. */
  readonly #said: { readonly subject: string; readonly payload: string }[] = [];
  cluster: FakeCluster;
  config: LiveConfig = parseDispatchConfig(JSON.stringify(CONFIG));
  clock = new FakeClock();
  dispatcher: Dispatcher;
  readonly fullNamespaces: string[] = [];

  private constructor(server: NatsTestServer, streams: Workbench, listener: NatsConnection, cluster: FakeCluster) {
    this.server = server;
    this.streams = streams;
    this.#listener = listener;
    this.cluster = cluster;
    this.dispatcher = this.newDispatcher();
  }

  static async open(): Promise<DispatcherBench> {
    const server = await NatsTestServer.start();
    const streams = await Workbench.open(server, { queues: [QUEUE] });
    const listener = await server.connect();
    const bench = new DispatcherBench(server, streams, listener, await FakeCluster.start());
    listener.subscribe("$JS.ACK.>", {
      callback: (_error, message) => void bench.#said.push({ subject: message.subject, payload: message.string() }),
    });
    await listener.flush();
    return bench;
  }

  /** Empty streams, an empty cluster, the configuration of the beginning. */
  async reset(): Promise<void> {
    for (const stream of ["JOBS", "RETRY", "EVENTS", "DLQ", "KV_millrace_jobs"]) await this.streams.manager.streams.purge(stream);
    await this.cluster[Symbol.asyncDispose]();
    this.cluster = await FakeCluster.start();
    this.configure({});
    this.fullNamespaces.length = 0;
    this.clock = new FakeClock();
    this.dispatcher = this.newDispatcher();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }

  configure(change: { readonly queue?: object; readonly templates?: object }): void {
    const queues = { [QUEUE]: { ...CONFIG.queues[QUEUE], ...change.queue } };
    this.config = parseDispatchConfig(JSON.stringify({ queues, templates: change.templates ?? CONFIG.templates }));
  }

  newDispatcher(rest: Partial<DispatcherOptions> = {}): Dispatcher {
    const [metrics, log, nowMs] = [new Metrics("test"), silentLog, Date.now];
    const { store } = this.streams;
    return new Dispatcher({
      ...store,
      instance: INSTANCE,
      admission: new Admission({ config: () => this.config, jobsNamespace: "jobs", historyMs: HISTORY_MS, nowMs }),
      jobs: this.cluster.jobs,
      rejections: new Rejections({ ...store, nowMs, metrics, log }),
      onNamespaceFull: (namespace) => void this.fullNamespaces.push(namespace),
      ackWaitMs: ACK_WAIT_MS,
      clock: this.clock,
      nowMs,
      random: () => 0.5,
      metrics,
      log,
      ...rest,
    });
  }

  async dispatch(...delivered: readonly Delivered[]): Promise<void> {
    await this.dispatchBy(this.dispatcher, delivered);
  }

  async dispatchBy(dispatcher: Dispatcher, delivered: readonly Delivered[]): Promise<void> {
    const queue = this.config.queues[QUEUE];
    if (queue === undefined) throw new Error("the queue is not configured");
    await dispatcher.dispatch(
      delivered.map(({ message }) => pulledMessage(message)),
      QUEUE,
      queue,
    );
  }

  async publish(body: Uint8Array | string, head: Readonly<Record<string, string>> = {}): Promise<Delivered> {
    await this.streams.publish(QUEUE, body, head);
    return this.streams.one(QUEUE);
  }

  async publishAndDispatch(body: Uint8Array | string, head: Readonly<Record<string, string>> = {}): Promise<Delivered> {
    const delivered = await this.publish(body, head);
    await this.dispatch(delivered);
    return delivered;
  }

  /** What the broker does after ack_wait, without the waiting. */
  async redelivered({ ack, source }: Pick<Delivered, "ack" | "source">): Promise<Delivered> {
    this.streams.connection.publish(ack, "-NAK");
    return this.streams.one(QUEUE, source.stream);
  }

  /** What was said about a message on its reply subjects, by anybody, in order. */
  async said({ seq, storedAt }: MessageSource): Promise<string[]> {
    await this.streams.connection.flush();
    await this.#listener.flush();
    return this.#said
      .filter(({ subject }) => subject.includes(`.${seq}.`) && subject.includes(storedAt))
      .map(({ payload }) => payload);
  }

  forgetWhatWasSaid(): void {
    this.#said.length = 0;
  }

  /** Lets time pass and waits for what it brings. */
  async passes(byMs: number, until: () => void | Promise<void>): Promise<void> {
    this.clock.advance(byMs);
    await vi.waitFor(until, { timeout: 10_000 });
  }

  async record(id: string): Promise<JobRecord | undefined> {
    return (await this.streams.store.records.get(hashOf(id)))?.record;
  }

  kept(id: string): Promise<string[]> {
    return this.streams.kept(QUEUE, hashOf(id));
  }

  /** The entry of a message that was rejected. */
  entryOf({ source }: Delivered, type = "hello") {
    return this.streams.manager.streams.getMessage(STREAM.deadLetters, {
      last_by_subj: `dlq.${QUEUE}.${type}.${sourceKey(source)}`,
    });
  }

  /** The record as a monitor writes it at first sight of the Job that a dispatched message became. */
  async seen(delivered: Delivered, id: string, rest: Partial<JobRecord> = {}): Promise<JobRecord> {
    const { metadata } = this.cluster.jobOf(hashOf(id));
    const job: JobReference = { namespace: metadata?.namespace ?? "", name: metadata?.name ?? "", uid: metadata?.uid ?? "" };
    const messageHash = metadata?.annotations?.[ANNOTATION.messageHash] ?? "";
    const at = new Date().toISOString();
    const { source } = delivered;
    const attemptOf = { id, hash: hashOf(id), queue: QUEUE, type: "hello", messageHash, source, attempt: 1, life: 1, job, at };
    const moved = transition(undefined, { kind: "firstSight", ...attemptOf });
    if (moved.kind !== "moved") throw new Error("the first sight was refused");
    const record = { ...moved.record, ...rest };
    await this.streams.store.records.swap(record, 0);
    return record;
  }

  /** A job whose first attempt failed a moment ago: its record awaits attempt 2, whose message is due in RETRY and delivered. */
  async retrying(id: string, failure: Partial<Failed> = {}, body = hello(id)): Promise<Delivered> {
    const first = await this.publishAndDispatch(body);
    const { hash, job } = await this.seen(first, id);
    this.cluster.objects.clear();
    const at = new Date().toISOString();
    const verdict: Failed = { kind: "failed", class: "exit", exitCode: 1, reason: "exited with 1", endedAt: at, ...failure };
    const config = retryConfig.parse({ backoff: { initial: "0s" }, freeBackoff: { initial: "0s" } });
    const policy = { config, attempts: undefined, final: undefined, blocked: false, random: 0.5 };
    const ended = { kind: "attemptEnded", attempt: 1, uid: job?.uid ?? "", verdict, policy, at } as const;
    await this.streams.store.settler.settle(hash, ended, first.ack);
    return this.streams.one(QUEUE, STREAM.retry);
  }
}

export const hashOf = (id: string): string => jobHash(INSTANCE, QUEUE, id);
export const hello = (id: string, name = "world"): string => JSON.stringify({ id, template: "hello", params: { name } });
/** A message that says itself in which namespace it runs. */
export const rawIn = (namespace: string, id: string): string =>
  JSON.stringify({ id, job: { prefixName: "p", namespace, image: "busybox" } });
