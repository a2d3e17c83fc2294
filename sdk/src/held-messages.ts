import type { JetStreamClient } from "@nats-io/jetstream";
import { assertNever, errorText, isMillraceError, MillraceError } from "../../libs/contract/errors.ts";
import type { Receipt } from "../../libs/contract/work-claim.ts";
import { Backoff, pause } from "../../libs/runtime/backoff.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { PulledWork } from "../../libs/streams/work-pull.ts";
import type { ClaimedWork, WorkFailure } from "../../libs/streams/work-settler.ts";
import type { WorkStore } from "../../libs/streams/work-store.ts";
import { attemptFields, runAttempt } from "./attempt.ts";
import { Ends } from "./ends.ts";
import { HandlerTimeout, LeaseLost, ShuttingDown } from "./errors.ts";
import type { HeartbeatPort } from "./heartbeat-port.ts";
import type { WorkerMetrics } from "./metrics.ts";
import type { Outcome } from "./outcome.ts";
import { publishTo } from "./publisher.ts";
import { keyOf, type Receiver, type Reception, readWork } from "./reception.ts";
import type { Worker } from "./worker.ts";

export interface HeldMessagesOptions {
  readonly name: string;
  readonly worker: Worker;
  readonly timeoutMs: number;
  readonly ackWaitMs: number;
  readonly store: WorkStore;
  /** Nothing is asked of a broker that is away: each question would be waited for, for seconds after it is there again. */
  readonly isConnected: () => boolean;
  readonly receiver: Receiver;
  readonly heartbeats: Pick<HeartbeatPort, "hold" | "handlerEnded" | "release">;
  readonly client: JetStreamClient;
  readonly metrics: WorkerMetrics;
  readonly log: Log;
}

interface Held {
  readonly abort: AbortController;
  /** As long as its handler runs. */
  running: { readonly work: ClaimedWork; readonly attempt: number } | undefined;
  /** Handed back: whatever its handler still does counts no more. */
  isOver: boolean;
}

/**
 * The messages that this process has, each with a lease of its own from its claim to its end (K6):
 *
 *   pulled → (claim) ─┬─ left alone: somebody else works on it, or this process does
 *                     ├─ its last attempt ended badly: that is written down first
 *                     └─ running → (handler ended) → settling → gone
 *
 * How a handler ended is told to the broker until it is told or the claim is lost, whatever NATS does meanwhile; the handler is never called twice
 * for it.
 */
export class HeldMessages {
  readonly #options: HeldMessagesOptions;
  readonly #ends: Ends;
  readonly #held = new Map<string, Held>();
  readonly #givenUp = new AbortController();
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: HeldMessagesOptions) {
    this.#options = options;
    this.#ends = new Ends(options);
  }

  /** One delivery, from its claim to its end. Never throws. */
  async work(message: PulledWork): Promise<void> {
    const { metrics, log } = this.#options;
    const key = keyOf(message);
    if (message.delivery > 1) metrics.redelivered();
    if (this.#held.has(key)) {
      log.debug("message.left", { key, why: "this process holds it" });
      return;
    }
    const held: Held = { abort: new AbortController(), running: undefined, isOver: false };
    this.#held.set(key, held);
    metrics.inFlight(this.#held.size);
    try {
      await this.#received(message, held);
    } catch (error) {
      log.error("message.failed", { key, error });
    } finally {
      this.#held.delete(key);
      metrics.inFlight(this.#held.size);
      if (this.#held.size === 0) this.#idle?.resolve();
    }
  }

  /** The claim is somebody else's. */
  lost(key: string): void {
    this.#held.get(key)?.abort.abort(new LeaseLost());
  }

  holds(message: PulledWork): boolean {
    return this.#held.has(keyOf(message));
  }

  get size(): number {
    return this.#held.size;
  }

  /** Resolves when nothing is held. */
  idle(): Promise<void> {
    if (this.#held.size === 0) return Promise.resolve();
    this.#idle ??= Promise.withResolvers();
    return this.#idle.promise;
  }

  /** Tells every handler to stop. */
  shutDown(): void {
    for (const { abort } of this.#held.values()) abort.abort(new ShuttingDown());
  }

  /** Gives back what still runs, without counting it. The process must end then: its handlers are not stopped by it. */
  async handBackAll(): Promise<void> {
    this.#givenUp.abort();
    await Promise.all(
      [...this.#held.values()].map(async (held) => {
        if (held.running === undefined || held.isOver) return;
        held.isOver = true;
        const { work, attempt } = held.running;
        await this.#handBack(work, attempt).catch((error: unknown) => {
          this.#options.log.warn("message.not-handed-back", { ...attemptFields(work.item, attempt), problem: errorText(error) });
        });
      }),
    );
  }

  async #received(message: PulledWork, held: Held): Promise<void> {
    const { name, worker, store, log } = this.#options;
    const { item, problem } = readWork(name, message);
    const reception = await this.#reception(message, item);
    if (reception === undefined) return store.handBack(message.ack);
    if (reception.kind === "leave") {
      log.info("message.left", { id: item.id, worker: item.worker, delivery: message.delivery, why: reception.why });
      return;
    }
    const { work, receipt } = reception;
    if (receipt.kind === "run" && problem === undefined) await this.#run(worker, work, receipt.attempt, held);
    else if (receipt.kind === "run") {
      await this.#fail(work, receipt.attempt, { ended: { class: "invalid", reason: problem ?? "" } }, 0);
    } else await this.#writeDown(work, receipt);
  }

  /** Undefined: the broker did not answer for so long that the message is about to be somebody else's. */
  async #reception(message: PulledWork, item: ClaimedWork["item"]): Promise<Reception | undefined> {
    const giveUpAtMs = performance.now() + this.#options.ackWaitMs / 2;
    const backoff = new Backoff({ initialMs: 50, maxMs: 1_000 });
    for (let isFirstTry = true; ; isFirstTry = false) {
      try {
        return await this.#options.receiver.receive(message, item, isFirstTry);
      } catch (error) {
        this.#options.log.warn("message.not-claimed", { id: item.id, worker: item.worker, problem: errorText(error) });
        if (this.#givenUp.signal.aborted || performance.now() > giveUpAtMs) return undefined;
        await pause(backoff.nextMs(), this.#givenUp.signal);
      }
    }
  }

  async #run(worker: Worker, work: ClaimedWork, attempt: number, held: Held): Promise<void> {
    const { heartbeats, store, client, timeoutMs, metrics, log } = this.#options;
    const { key, message, item, claim, revision } = work;
    held.running = { work, attempt };
    heartbeats.hold({ key, ack: message.ack, claim, revision, deadlineMs: Date.now() + timeoutMs });
    const timer = setTimeout(() => held.abort.abort(new HandlerTimeout(timeoutMs)), timeoutMs);
    const beganAtMs = performance.now();
    // It may have been lost, or the process told to end, in the meantime.
    const isReady = await this.#persist(work, () => store.settler.removePredecessor(item));
    const outcome: Outcome = isReady
      ? await runAttempt({
          worker,
          item,
          attempt,
          data: message.data,
          signal: held.abort.signal,
          publish: (outgoing) => publishTo(client, outgoing),
          renew: () => store.broker.renew(message.ack),
          guard: () => guard(held),
          log,
        })
      : { kind: "handBack" };
    clearTimeout(timer);
    if (held.isOver) return;
    held.running = undefined;
    heartbeats.handlerEnded(key);
    const tookMs = Math.round(performance.now() - beganAtMs);
    metrics.handlerTook(tookMs);
    await this.#settle(work, attempt, outcome, tookMs);
  }

  async #settle(work: ClaimedWork, attempt: number, outcome: Outcome, tookMs: number): Promise<void> {
    switch (outcome.kind) {
      case "succeeded":
        if (!(await this.#release(work))) return this.#ends.lost(work, attempt, tookMs);
        return this.#succeed(work, attempt, tookMs);
      case "failed":
        if (!(await this.#release(work))) return this.#ends.lost(work, attempt, tookMs);
        return this.#fail(work, attempt, outcome, tookMs);
      case "handBack":
        return this.#handBack(work, attempt);
      case "lost":
        await this.#release(work);
        return this.#ends.lost(work, attempt, tookMs);
      default:
        return assertNever(outcome);
    }
  }

  /** False: the claim is somebody else's. */
  async #release(work: ClaimedWork): Promise<boolean> {
    const released = await this.#options.heartbeats.release(work.key);
    if (released === undefined) return false;
    work.revision = released.revision;
    return true;
  }

  async #succeed(work: ClaimedWork, attempt: number, tookMs: number): Promise<void> {
    const { settler } = this.#options.store;
    let settled: Awaited<ReturnType<typeof settler.succeeded>> | undefined;
    const isTold = await this.#persist(work, async () => {
      settled = await settler.succeeded(work);
    });
    if (!isTold) return;
    if (settled?.kind === "lost") return this.#ends.lost(work, attempt, tookMs);
    this.#ends.succeeded(work, attempt, tookMs);
  }

  async #fail(work: ClaimedWork, attempt: number, failure: WorkFailure, tookMs: number): Promise<void> {
    const { settler } = this.#options.store;
    let settled: Awaited<ReturnType<typeof settler.failed>> | undefined;
    const isTold = await this.#persist(work, async () => {
      settled = await settler.failed(work, failure);
    });
    if (!isTold || settled === undefined) return;
    if (settled.kind === "lost") return this.#ends.lost(work, attempt, tookMs);
    this.#ends.failed(work, attempt, failure.ended, settled.decision, { tookMs });
  }

  /** What the worker before, or the monitor, has decided. */
  async #writeDown(work: ClaimedWork, receipt: Exclude<Receipt, { kind: "leave" | "run" }>): Promise<void> {
    const { counts, ended } = receipt;
    const decision =
      receipt.kind === "dead"
        ? ({ kind: "dead", why: receipt.why } as const)
        : ({ kind: "retry", delayMs: receipt.delayMs } as const);
    const { settler } = this.#options.store;
    const isTold = await this.#persist(work, async () => {
      await settler.removePredecessor(work.item);
      await settler.writeDown(work, counts, ended, decision);
    });
    if (isTold) this.#ends.failed(work, counts.failures + counts.free, ended, decision, {});
  }

  async #handBack(work: ClaimedWork, attempt: number): Promise<void> {
    if (!(await this.#release(work))) return this.#ends.lost(work, attempt, 0);
    const settled = await this.#options.store.settler.handedBack(work);
    if (settled.kind === "lost") return this.#ends.lost(work, attempt, 0);
    this.#ends.handedBack(work, attempt);
  }

  /** Tries until the broker has answered. False: it was given up, because the process ends or somebody is to go on with it later. */
  async #persist(work: ClaimedWork, step: () => Promise<void>): Promise<boolean> {
    const { metrics, log } = this.#options;
    const backoff = new Backoff({ initialMs: 50, maxMs: 1_000 });
    for (let tries = 1; ; tries += 1) {
      try {
        if (!this.#options.isConnected()) throw new MillraceError("NATS_UNREACHABLE", "NATS is away");
        await step();
        return true;
      } catch (error) {
        metrics.settleFailed();
        const about = { id: work.item.id, worker: work.item.worker, problem: errorText(error) };
        // Of one that goes on for long, once in a while.
        log[tries % 60 === 1 ? "warn" : "debug"]("message.unsettled", about);
        if (this.#givenUp.signal.aborted || (await this.#isSetAside(work, error))) return false;
        await pause(backoff.nextMs(), this.#givenUp.signal);
      }
    }
  }

  /** What finds no room in WORK_RETRY stays in WORK, and its slot is for the retries that make room. */
  async #isSetAside(work: ClaimedWork, error: unknown): Promise<boolean> {
    if (!isMillraceError(error) || error.code !== "RETRY_FULL") return false;
    return this.#options.store.settler.setAside(work).then(
      () => true,
      () => false,
    );
  }
}

/** A handler that was handed back, or has ended and left something running, speaks for its message no more. */
function guard({ isOver, running }: Held): void {
  if (isOver || running === undefined) throw new ShuttingDown();
}
