import { Worker } from "node:worker_threads";
import { assertNever, errorText, MillraceError } from "../../../libs/contract/errors.ts";
import { Backoff, pause } from "../../../libs/runtime/backoff.ts";
import type { Service } from "../../../libs/runtime/lifecycle.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import type { NatsSettings } from "../../../libs/streams/connection.ts";
import { LoopPulse } from "./loop-pulse.ts";
import { threadFile } from "./thread-file.ts";
import type { FromThread, Lease, MetricsOutcome, ThreadSetup, ToThread } from "./thread-messages.ts";

const TIMEOUT_GRACE_MS = 10_000;
/** It closes a connection and a server; what does not end by then is ended. */
const STOP_WITHIN_MS = 2_000;

export interface HeldMessage extends Lease {
  /** When its handler must have ended, in milliseconds since the epoch. */
  readonly deadlineMs: number;
}

interface Holding {
  readonly ticket: number;
  readonly message: HeldMessage;
  hasHandlerEnded: boolean;
  isLost: boolean;
}

interface Releasing {
  readonly holding: Holding;
  readonly resolve: (revision: number | undefined) => void;
}

export interface HeartbeatsOptions {
  readonly settings: NatsSettings;
  /** The worker's name. */
  readonly worker: string;
  readonly ackWaitMs: number;
  /** Of `/healthz`, `/readyz` and `/metrics`; 0 takes any that is free. */
  readonly httpPort: number;
  /** How long a handler may take to heed that its time is up, until the process is killed. Default: ten seconds. */
  readonly timeoutGraceMs?: number;
  readonly log: Log;
  /** The text of `/metrics`. */
  readonly metrics: () => Promise<string>;
  /** The message is somebody else's now: its handler is to be aborted, and its outcome dropped. Told once. */
  readonly onLost: (key: string) => void;
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * The leases of a worker's messages, kept by a thread of their own with a connection of its own, so that a handler that holds up the event loop
 * keeps its message. The same thread answers the probes, and kills the process when a handler outlives its time and the grace after it.
 *
 *   new → start → running ⇄ (the thread died; started again, with all that is held) → stop → stopped
 *
 * Of each held message: hold → [lost] → [handlerEnded] → release.
 */
export class Heartbeats implements Service {
  readonly name = "heartbeats";
  readonly #options: HeartbeatsOptions;
  readonly #pulse = new LoopPulse();
  readonly #held = new Map<string, Holding>();
  readonly #releasing = new Map<number, Releasing>();
  readonly #stopping = new AbortController();
  #thread: Worker | undefined;
  #tickets = 0;
  #problem: string | undefined = "starting";
  #port = -1;

  constructor(options: HeartbeatsOptions) {
    this.#options = options;
  }

  /** The port that was bound, for `httpPort: 0`. */
  get port(): number {
    return this.#port;
  }

  /**
   * Resolves when the probes are answered; NATS may come later.
   * @throws MillraceError `HEARTBEAT_THREAD_MISSING`; what the thread could not start for, such as a port in use
   */
  async start(): Promise<void> {
    if (this.#thread !== undefined) return;
    this.#pulse.start();
    await this.#spawn(this.#options.httpPort);
  }

  /** From now on the message is renewed. The claim is written already, at `revision`. */
  hold(message: HeldMessage): void {
    if (this.#held.has(message.key)) throw new MillraceError("INTERNAL", `${message.key} is held already`);
    this.#tickets += 1;
    const holding: Holding = { ticket: this.#tickets, message, hasHandlerEnded: false, isLost: false };
    this.#held.set(message.key, holding);
    this.#holdIn(holding);
  }

  /** The handler's time no longer counts; the message is renewed until it is released. To be told at once, also after `onLost`. */
  handlerEnded(key: string): void {
    const holding = this.#held.get(key);
    if (holding === undefined) return;
    holding.hasHandlerEnded = true;
    this.#tell({ kind: "handlerEnded", ticket: holding.ticket });
  }

  /**
   * Renews no more, and says at which revision the claim was written last; undefined when it is lost. Nothing writes it afterwards, but what was sent
   * while NATS was away may arrive then: who loses a compare-and-swap finds in the claim whether it names this process.
   */
  release(key: string): Promise<{ readonly revision: number } | undefined> {
    const holding = this.#held.get(key);
    if (holding === undefined) return Promise.resolve(undefined);
    this.#held.delete(key);
    const { promise, resolve } = Promise.withResolvers<{ readonly revision: number } | undefined>();
    this.#releasing.set(holding.ticket, {
      holding,
      resolve: (revision) => resolve(revision === undefined || holding.isLost ? undefined : { revision }),
    });
    if (this.#thread === undefined) this.#released(holding.ticket, holding.message.revision);
    else this.#tell({ kind: "release", ticket: holding.ticket });
    return promise;
  }

  /** What `/readyz` says beside what the thread knows; until the first time "starting". */
  setReadiness({ ready, problem }: { readonly ready: boolean; readonly problem?: string }): void {
    this.#problem = ready ? undefined : (problem ?? "not ready");
    this.#tell({ kind: "readiness", problem: this.#problem });
  }

  /** The probes are answered until here. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#pulse.stop();
    const thread = this.#thread;
    this.#thread = undefined;
    if (thread === undefined) return;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    thread.once("exit", () => resolve());
    thread.postMessage({ kind: "stop" } satisfies ToThread);
    const timer = setTimeout(() => void thread.terminate(), STOP_WITHIN_MS);
    await ended;
    clearTimeout(timer);
    this.#releaseAll();
  }

  async #spawn(httpPort: number): Promise<void> {
    const { settings, worker, ackWaitMs, timeoutGraceMs } = this.#options;
    const setup: ThreadSetup = {
      settings,
      worker,
      ackWaitMs,
      graceMs: timeoutGraceMs ?? TIMEOUT_GRACE_MS,
      httpPort,
      pulse: this.#pulse.memory,
    };
    const thread = new Worker(threadFile(this.#options.env ?? process.env), { workerData: setup, name: "heartbeat" });
    const { promise: listening, resolve, reject } = Promise.withResolvers<void>();
    thread.on("message", (message: FromThread) => {
      if (message.kind === "listening") {
        // It was stopped while it started.
        if (this.#stopping.signal.aborted) void thread.terminate();
        this.#port = message.port;
        this.#thread = thread;
        this.#tell({ kind: "readiness", problem: this.#problem });
        for (const holding of this.#held.values()) this.#holdIn(holding);
        resolve();
      } else this.#hear(message);
    });
    thread.on("error", reject);
    thread.on("error", (error) => this.#options.log.error("heartbeat.failed", { error }));
    thread.on("exit", () => {
      reject(new MillraceError("HEARTBEAT_FAILED", "the heartbeat thread ended while it started"));
      if (this.#thread === thread) this.#again();
    });
    await listening;
  }

  /** A thread that died takes no lease with it: whatever it wrote last is found by the next one. */
  #again(): void {
    this.#thread = undefined;
    this.#releaseAll();
    void this.#respawn();
  }

  async #respawn(): Promise<void> {
    const backoff = new Backoff({ initialMs: 250, maxMs: 5_000 });
    while (!this.#stopping.signal.aborted) {
      await pause(backoff.nextMs(), this.#stopping.signal);
      try {
        return await this.#spawn(this.#port);
      } catch (error) {
        this.#options.log.error("heartbeat.not-started", { error: errorText(error) });
      }
    }
  }

  #hear(message: Exclude<FromThread, { kind: "listening" }>): void {
    switch (message.kind) {
      case "released":
        this.#released(message.ticket, message.revision);
        break;
      case "lost":
        this.#lost(message.ticket);
        break;
      case "metrics":
        void this.#metrics(message.request);
        break;
      case "log":
        this.#options.log[message.level](message.event, message.fields);
        break;
      default:
        assertNever(message);
    }
  }

  #lost(ticket: number): void {
    const holding = [...this.#held.values()].find((held) => held.ticket === ticket) ?? this.#releasing.get(ticket)?.holding;
    if (holding === undefined || holding.isLost) return;
    holding.isLost = true;
    this.#options.onLost(holding.message.key);
  }

  #released(ticket: number, revision: number | undefined): void {
    this.#releasing.get(ticket)?.resolve(revision);
    this.#releasing.delete(ticket);
  }

  /** With the revisions that are known here. */
  #releaseAll(): void {
    for (const [ticket, { holding }] of this.#releasing) this.#released(ticket, holding.message.revision);
  }

  async #metrics(request: number): Promise<void> {
    const outcome: MetricsOutcome = await this.#options.metrics().then(
      (text) => ({ kind: "text", text }),
      (error: unknown) => ({ kind: "failed", why: errorText(error) }),
    );
    this.#tell({ kind: "metrics", request, outcome });
  }

  #holdIn({ ticket, message: { deadlineMs, ...lease }, hasHandlerEnded }: Holding): void {
    this.#tell({ kind: "hold", ticket, lease, leftMs: deadlineMs - Date.now() });
    if (hasHandlerEnded) this.#tell({ kind: "handlerEnded", ticket });
  }

  /** A thread that is not there is told when it is there again. */
  #tell(message: ToThread): void {
    this.#thread?.postMessage(message);
  }
}
