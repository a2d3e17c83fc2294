import { type ConsumerMessages, type JetStreamClient, type JsMsg, jetstream } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { errorText } from "../../libs/contract/errors.ts";
import { consumerName, STREAM } from "../../libs/contract/streams.ts";
import type { DispatchConfigSource } from "../../libs/kube/dispatch-config-source.ts";
import { Backoff, pause } from "../../libs/runtime/backoff.ts";
import type { WorkUnderWay } from "../../libs/runtime/health.ts";
import type { Service } from "../../libs/runtime/lifecycle.ts";
import type { Log } from "../../libs/runtime/log.ts";
import { batches } from "./batches.ts";
import { pulledMessage } from "./delivery.ts";
import type { Dispatcher } from "./dispatcher.ts";

/** A multi-get of records is complete up to this many keys (rule D2). */
const BATCH_MESSAGES = 128;
/** Of one queue, being decided at once. Messages are counted and not batches: what comes one by one would wait for four others' Jobs. */
const MESSAGES_IN_FLIGHT = 4 * BATCH_MESSAGES;

/** How long one request for messages is open. */
const REQUEST_MS = 30_000;
/**
 * How often meanwhile the broker says that it is still there. A server that takes a consumer over knows nothing of the requests that are open at the
 * former one: the client asks anew when it has missed two of these.
 */
const SIGNS_OF_LIFE = 12;

/** Retries first: what is under way ends before more is begun. The gate keeps that order when both wait for a turn. */
const STREAMS = [STREAM.retry, STREAM.jobs] as const;

/** The pull loops: two for each queue of the configuration, on RETRY and JOBS, started and ended as queues come and go. */
export class PullLoops implements Service {
  readonly name = "pull-loops";
  readonly #options: {
    connection: NatsConnection;
    config: DispatchConfigSource;
    dispatcher: Pick<Dispatcher, "dispatch">;
    underWay: Pick<WorkUnderWay, "begin">;
    requestMs?: number;
    log: Log;
  };
  readonly #loops = new Map<string, readonly PullLoop[]>();
  #unsubscribe: (() => void) | undefined;
  #stopped = false;

  constructor(options: {
    readonly connection: NatsConnection;
    readonly config: DispatchConfigSource;
    readonly dispatcher: Pick<Dispatcher, "dispatch">;
    /** The batches: one that does not end is a stall. */
    readonly underWay: Pick<WorkUnderWay, "begin">;
    readonly requestMs?: number;
    readonly log: Log;
  }) {
    this.#options = options;
  }

  start(): Promise<void> {
    this.#unsubscribe ??= this.#options.config.subscribe(({ queues }) => {
      if (this.#stopped) return;
      for (const queue of Object.keys(queues)) {
        if (this.#loops.has(queue)) continue;
        this.#loops.set(
          queue,
          STREAMS.map((stream) => new PullLoop({ ...this.#options, queue, stream })),
        );
      }
      for (const [queue, loops] of this.#loops) {
        if (queues[queue] !== undefined) continue;
        this.#loops.delete(queue);
        for (const loop of loops) {
          loop.stop().catch((error: unknown) => this.#options.log.error("pull.stop-failed", { queue, error }));
        }
      }
    });
    return Promise.resolve();
  }

  /** Nothing more is pulled. What is handed back after this goes to others, and not to these loops, which end. */
  close(): void {
    this.#stopped = true;
    this.#unsubscribe?.();
    for (const loop of [...this.#loops.values()].flat()) loop.close();
  }

  async stop(): Promise<void> {
    this.close();
    await Promise.all([...this.#loops.values()].flat().map((loop) => loop.stop()));
    this.#loops.clear();
  }

  problem(): string | undefined {
    const problems = [...this.#loops.values()].flat().flatMap((loop) => loop.problem() ?? []);
    return problems.length === 0 ? undefined : problems.join("; ");
  }
}

/**
 * Pulls one queue's messages from one stream and hands them on in batches: whatever has already arrived goes together, so a lone message waits for nobody
 * and a burst shares one read of the records.
 *
 *   waiting for the consumer → pulling → (consumer or connection lost) → waiting …          → drained
 */
class PullLoop {
  readonly #client: JetStreamClient;
  readonly #config: DispatchConfigSource;
  readonly #dispatcher: Pick<Dispatcher, "dispatch">;
  readonly #underWay: Pick<WorkUnderWay, "begin">;
  readonly #requestMs: number;
  readonly #queue: string;
  readonly #stream: string;
  readonly #log: Log;
  readonly #stop = new AbortController();
  readonly #inFlight = new Set<Promise<void>>();
  #deciding = 0;
  readonly #backoff = new Backoff({ initialMs: 200, maxMs: 5_000 });
  readonly #running: Promise<void>;
  #messages: ConsumerMessages | undefined;
  #problem: string | undefined;

  constructor(options: {
    connection: NatsConnection;
    config: DispatchConfigSource;
    dispatcher: Pick<Dispatcher, "dispatch">;
    underWay: Pick<WorkUnderWay, "begin">;
    requestMs?: number;
    queue: string;
    stream: string;
    log: Log;
  }) {
    this.#client = jetstream(options.connection);
    this.#config = options.config;
    this.#dispatcher = options.dispatcher;
    this.#underWay = options.underWay;
    this.#requestMs = options.requestMs ?? REQUEST_MS;
    this.#queue = options.queue;
    this.#stream = options.stream;
    this.#log = options.log;
    this.#problem = `${this.#queue}: not pulling from ${this.#stream} yet`;
    this.#running = this.#run();
  }

  problem(): string | undefined {
    return this.#problem;
  }

  close(): void {
    this.#stop.abort();
    this.#messages?.stop();
  }

  /** Stops pulling, hands back what was not begun, and waits for what was. */
  async stop(): Promise<void> {
    this.close();
    await this.#messages?.close();
    await this.#running;
    await Promise.all(this.#inFlight);
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        await this.#pull();
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        this.#problem = `${this.#queue}: ${errorText(error)}`;
        this.#log.warn("pull.interrupted", { queue: this.#queue, problem: errorText(error) });
      }
      await pause(this.#backoff.nextMs(), this.#stop.signal);
    }
  }

  async #pull(): Promise<void> {
    const consumer = await this.#client.consumers.get(this.#stream, consumerName(this.#queue));
    const messages = await consumer.consume({
      max_messages: BATCH_MESSAGES,
      expires: this.#requestMs,
      idle_heartbeat: this.#requestMs / SIGNS_OF_LIFE,
      abort_on_missing_resource: true,
    });
    this.#messages = messages;
    // It is read to its end all the same: only by that it closes.
    if (this.#stop.signal.aborted) messages.stop();
    this.#problem = undefined;
    void this.#listen(messages);
    this.#backoff.reset();
    try {
      for await (const batch of batches<JsMsg>(messages, BATCH_MESSAGES)) {
        this.#problem = undefined;
        const config = this.#config.current.queues[this.#queue];
        if (this.#stop.signal.aborted || config === undefined) for (const message of batch) message.nak();
        else await this.#hand(this.#dispatcher.dispatch(batch.map(pulledMessage), this.#queue, config), batch.length);
      }
    } finally {
      messages.stop();
    }
  }

  /** Connected is not served: a stream without a leader, or a server that hangs, shows by its silence. While messages come, it sends nothing else. */
  async #listen(messages: ConsumerMessages): Promise<void> {
    for await (const { type } of messages.status()) {
      if (type === "heartbeats_missed") this.#problem = `${this.#queue}: the broker does not answer for ${this.#stream}`;
      else if (type === "heartbeat" || type === "debug") this.#problem = undefined;
    }
  }

  /** Resolves when there is room for another batch. */
  async #hand(work: Promise<void>, messages: number): Promise<void> {
    const end = this.#underWay.begin();
    this.#deciding += messages;
    const tracked = work.finally(() => {
      end();
      this.#deciding -= messages;
      this.#inFlight.delete(tracked);
    });
    this.#inFlight.add(tracked);
    while (this.#deciding > MESSAGES_IN_FLIGHT - BATCH_MESSAGES) await Promise.race(this.#inFlight);
  }
}
