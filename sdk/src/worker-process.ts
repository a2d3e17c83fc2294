import { jetstream } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { errorText, MillraceError } from "../../libs/contract/errors.ts";
import { Backoff, pause } from "../../libs/runtime/backoff.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Broker } from "../../libs/streams/broker.ts";
import { BrokerLink } from "../../libs/streams/broker-link.ts";
import { connectNats } from "../../libs/streams/connection.ts";
import { WorkConsumers } from "../../libs/streams/work-consumers.ts";
import { type PulledWork, WorkPull } from "../../libs/streams/work-pull.ts";
import { openWorkStore, type WorkStore } from "../../libs/streams/work-store.ts";
import type { HeartbeatPort } from "./heartbeat-port.ts";
import { HeldMessages } from "./held-messages.ts";
import { LoopLag } from "./loop-lag.ts";
import { WorkerMetrics } from "./metrics.ts";
import { PullLoop } from "./pull-loop.ts";
import { Receiver } from "./reception.ts";
import type { Worker } from "./worker.ts";
import type { WorkerSettings } from "./worker-env.ts";

export interface WorkerProcessOptions {
  readonly worker: Worker;
  readonly settings: WorkerSettings;
  /** What keeps the leases; it is told what `/metrics` says, and tells of leases that were lost. */
  readonly heartbeats: (options: {
    readonly metrics: () => Promise<string>;
    readonly onLost: (key: string) => void;
  }) => HeartbeatPort;
  readonly log: Log;
  /** For tests: how long a request for messages is open, and calls that crash. */
  readonly requestMs?: number;
  readonly broker?: (broker: Broker) => Broker;
}

/** How long handlers may take to heed that the process ends. */
const HEED_MS = 2_000;
const LOOK_EVERY_MS = 500;

/** The parts that need a connection. */
interface Parts {
  readonly connection: NatsConnection;
  readonly store: WorkStore;
  readonly held: HeldMessages;
  readonly loop: PullLoop;
}

interface Orders {
  readonly stop: AbortSignal;
  readonly force: AbortSignal;
}

/**
 * One worker, from its start to its drain.
 *
 *   run → connecting → waiting for its consumers ⇄ pulling → (stop) → draining: nothing more is pulled, what is in flight ends
 *       → (grace over, or force) → handlers are told to stop → what does not heed is handed back → ended
 *       → (the connection is closed for good) → handlers are told to stop → failed
 */
export class WorkerProcess {
  readonly #options: WorkerProcessOptions;
  readonly #metrics: WorkerMetrics;
  readonly #heartbeats: HeartbeatPort;
  readonly #link: BrokerLink;
  readonly #lag: LoopLag;
  #parts: Parts | undefined;
  #pullProblem: string | undefined = "not connected yet";
  #isDraining = false;

  constructor(options: WorkerProcessOptions) {
    this.#options = options;
    this.#metrics = new WorkerMetrics(options.settings.name);
    this.#lag = new LoopLag({ onBlocked: (ms) => this.#metrics.blockedFor(ms) });
    this.#link = new BrokerLink({ onDenied: (what) => options.log.warn("nats.denied", { what }) });
    this.#heartbeats = options.heartbeats({
      metrics: () => this.#metrics.text(),
      onLost: (key) => this.#parts?.held.lost(key),
    });
  }

  /** What keeps the worker from taking messages. */
  problem(): string | undefined {
    if (this.#isDraining) return "draining";
    return [this.#link.reached.problem(), this.#pullProblem, ...this.#link.denied()].find((problem) => problem !== undefined);
  }

  /**
   * Works until `stop` is aborted, and drains. `force`: hands back at once.
   * @throws MillraceError `NATS_TOO_OLD`, `NATS_CLOSED`, and what the heartbeat thread cannot start for
   */
  async run({ stop, force }: Orders): Promise<void> {
    const { log } = this.#options;
    let connection: NatsConnection | undefined;
    this.#lag.start();
    await this.#heartbeats.start();
    const telling = setInterval(() => this.#tellReadiness(), LOOK_EVERY_MS).unref();
    try {
      connection = await this.#connect(stop);
      if (connection === undefined) return;
      const closed = new AbortController();
      void connection.closed().then((why) => closed.abort(closedForGood(why)));
      const over = (order: AbortSignal): AbortSignal => AbortSignal.any([order, closed.signal]);
      await this.#work(connection, { stop: over(stop), force: over(force) });
      closed.signal.throwIfAborted();
    } finally {
      clearInterval(telling);
      this.#lag.stop();
      await this.#heartbeats.stop();
      await connection?.close().catch((error: unknown) => log.warn("nats.not-closed", { problem: errorText(error) }));
    }
  }

  async #work(connection: NatsConnection, { stop, force }: Orders): Promise<void> {
    const { log, settings } = this.#options;
    void this.#link.follow(connection);
    const store = await this.#open(connection, stop);
    if (store === undefined) return;
    const parts = this.#assemble(connection, store);
    this.#parts = parts;
    await store.pulse.start();
    parts.loop.start();
    const { name: worker, concurrency, timeoutMs, ackWaitMs } = settings;
    log.info("worker.started", { worker, concurrency, timeoutMs, ackWaitMs });
    await aborted(stop);
    await this.#drain(parts, force);
  }

  /** Undefined: it was told to stop before NATS was reached. */
  async #connect(stop: AbortSignal): Promise<NatsConnection | undefined> {
    const { settings, log } = this.#options;
    const connecting = connectNats({
      settings: settings.nats,
      name: `millrace-worker ${settings.name} ${settings.holder.podName}`,
      signal: stop,
      onUnreachable: (problem) => {
        this.#link.failed(problem);
        log.warn("nats.unreachable", { problem });
      },
    });
    const connection = await Promise.race([connecting, aborted(stop)]);
    if (connection === undefined) void connecting.then((late) => late.close()).catch(() => {});
    return connection;
  }

  /** JetStream may come later than NATS. */
  async #open(connection: NatsConnection, stop: AbortSignal): Promise<WorkStore | undefined> {
    const { settings, broker } = this.#options;
    const backoff = new Backoff({ initialMs: 100, maxMs: 5_000 });
    while (!stop.aborted) {
      try {
        const { retry, ackWaitMs } = settings;
        return await openWorkStore({ connection, retry, ackWaitMs, ...(broker === undefined ? {} : { broker }) });
      } catch (error) {
        this.#pullProblem = `JetStream does not answer: ${errorText(error)}`;
        await pause(backoff.nextMs(), stop);
      }
    }
    return undefined;
  }

  #assemble(connection: NatsConnection, store: WorkStore): Parts {
    const { worker, settings, log, requestMs } = this.#options;
    const { name, ackWaitMs, timeoutMs, concurrency, retry, holder } = settings;
    const held: HeldMessages = new HeldMessages({
      name,
      worker,
      timeoutMs,
      ackWaitMs,
      store,
      isConnected: () => this.#link.isUp,
      receiver: new Receiver({
        worker: name,
        broker: store.broker,
        claims: store.claims,
        messages: store.messages,
        holder,
        ackWaitMs,
        upForMs: () => Math.min(this.#link.upForMs(), store.pulse.answersForMs()),
        retry,
      }),
      heartbeats: this.#heartbeats,
      client: jetstream(connection),
      metrics: this.#metrics,
      log,
    });
    const onMessage = (message: PulledWork): void => {
      if (loop.take()) void held.work(message).finally(() => loop.free());
      else if (!held.holds(message)) {
        this.#metrics.surplus();
        store.handBack(message.ack);
      }
    };
    const loop = new PullLoop({
      worker: name,
      concurrency,
      pull: new WorkPull({ connection, onMessage }),
      isConnected: () => this.#link.isUp,
      consumers: new WorkConsumers({ connection, worker: name, ackWaitMs }),
      log,
      onProblem: (problem) => {
        if (problem !== undefined && problem !== this.#pullProblem) log.warn("worker.unready", { worker: name, problem });
        this.#pullProblem = problem;
        this.#tellReadiness();
      },
      onSilent: () => store.pulse.silent(),
      ...(requestMs === undefined ? {} : { requestMs }),
    });
    return { connection, store, held, loop };
  }

  async #drain({ connection, store, held, loop }: Parts, force: AbortSignal): Promise<void> {
    const { settings, log } = this.#options;
    this.#isDraining = true;
    this.#tellReadiness();
    log.info("worker.draining", { worker: settings.name, inFlight: held.size });
    const closed = loop.close();
    const finished = closed.then(() => held.idle());
    if (!(await within(finished, settings.graceMs, force))) {
      held.shutDown();
      if (!(await within(finished, HEED_MS, force))) await held.handBackAll();
    }
    // What is on its way already is handed back too; only one who is forced does not wait for it.
    await Promise.race([closed, aborted(force)]);
    await store.pulse.stop();
    if (!connection.isClosed()) await Promise.race([connection.flush(), pause(HEED_MS, force)]).catch(() => {});
    log.info("worker.stopped", { worker: settings.name });
  }

  #tellReadiness(): void {
    const problem = this.problem();
    this.#heartbeats.setReadiness(problem === undefined ? { ready: true } : { ready: false, problem });
  }
}

/** The client reconnects for ever by itself, but not when NATS refused its credentials; a process that is started anew reads them again. */
function closedForGood(cause: unknown): MillraceError {
  const why = cause instanceof Error ? ` (${cause.message})` : "";
  const text = `the connection to NATS was closed for good${why}: look whether it still takes the worker's credentials`;
  return new MillraceError("NATS_CLOSED", text, { cause });
}

function aborted(signal: AbortSignal): Promise<undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  if (signal.aborted) resolve(undefined);
  signal.addEventListener("abort", () => resolve(undefined), { once: true });
  return promise;
}

/** Whether it resolved in time; cut short by the signal. */
async function within(work: Promise<void>, ms: number, cut: AbortSignal): Promise<boolean> {
  return Promise.race([work.then(() => true), pause(ms, cut).then(() => false)]);
}
