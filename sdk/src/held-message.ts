import type { JetStreamClient } from "@nats-io/jetstream";
import { assertNever, errorText } from "../../libs/contract/errors.ts";
import type { Receipt } from "../../libs/contract/work-claim.ts";
import type { WorkCounts } from "../../libs/contract/work-message.ts";
import type { WorkDecision, WorkEnd } from "../../libs/contract/work-retry.ts";
import { Backoff, pause } from "../../libs/runtime/backoff.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { PulledWork } from "../../libs/streams/work-pull.ts";
import type { ClaimedWork, FailureDecided, Settled, WorkFailure } from "../../libs/streams/work-settler.ts";
import type { WorkStore } from "../../libs/streams/work-store.ts";
import { attemptFields, runAttempt } from "./attempt.ts";
import type { Ends } from "./ends.ts";
import { HandlerTimeout, LeaseLost, ShuttingDown } from "./errors.ts";
import type { HeartbeatPort } from "./heartbeat-port.ts";
import type { WorkerMetrics } from "./metrics.ts";
import type { Outcome } from "./outcome.ts";
import { publishTo } from "./publisher.ts";
import { type Receiver, type Reception, readWork } from "./reception.ts";
import type { Telling } from "./telling.ts";
import { WorkLease } from "./work-lease.ts";
import type { Worker } from "./worker.ts";

export interface HeldMessageOptions {
  readonly name: string;
  readonly worker: Worker;
  readonly timeoutMs: number;
  readonly ackWaitMs: number;
  readonly store: WorkStore;
  readonly receiver: Receiver;
  readonly heartbeats: Pick<HeartbeatPort, "hold" | "handlerEnded" | "release">;
  readonly client: JetStreamClient;
  readonly metrics: WorkerMetrics;
  readonly log: Log;
  readonly telling: Telling;
  readonly ends: Ends;
  /** The process ends: nothing is begun any more. */
  readonly givenUp: AbortSignal;
}

/**
 * One message that this process was given:
 *
 *   pulled → (claim) ─┬─ left alone: somebody else works on it, or has settled it
 *                     ├─ its last attempt ended badly: that is written down first
 *                     └─ running → (handler ended) → settling → gone
 *
 * How a handler ended is told to the broker until it is told or the claim is lost, whatever NATS does meanwhile; the handler is never called twice
 * for it. What follows from a failure that is decided is another worker's to write down, too, when this one cannot (set aside).
 */
export class HeldMessage {
  readonly #message: PulledWork;
  readonly #options: HeldMessageOptions;
  readonly #abort = new AbortController();
  /** From its claim until its handler has ended. */
  #running: { readonly lease: WorkLease; readonly attempt: number } | undefined;
  /** Handed back: whatever its handler still does counts no more. */
  #isOver = false;

  constructor(message: PulledWork, options: HeldMessageOptions) {
    this.#message = message;
    this.#options = options;
  }

  /** The claim is somebody else's. */
  lost(): void {
    this.#abort.abort(new LeaseLost());
  }

  /** Tells its handler to stop. */
  shutDown(): void {
    this.#abort.abort(new ShuttingDown());
  }

  /** Gives it back while it runs, without counting it. Its handler is not stopped by that. */
  async handBack(): Promise<void> {
    if (this.#running === undefined || this.#isOver) return;
    this.#isOver = true;
    const { lease, attempt } = this.#running;
    await this.#handBack(lease, attempt).catch((error: unknown) => {
      const about = { ...attemptFields(lease.work.item, attempt), problem: errorText(error) };
      this.#options.log.warn("message.not-handed-back", about);
    });
  }

  /** From its claim to its end. */
  async work(): Promise<void> {
    const { name, store, heartbeats, ackWaitMs } = this.#options;
    const { item, problem } = readWork(name, this.#message);
    const reception = await this.#reception(item);
    if (reception === undefined) return store.handBack(this.#message.ack);
    if (reception.kind === "leave") return this.#left(item, reception.why);
    const { work, receipt } = reception;
    const lease = new WorkLease({ work, ackWaitMs, heartbeats, settler: store.settler });
    if (receipt.kind !== "run") await this.#writeDown(lease, receipt);
    else if (problem === undefined) await this.#run(lease, receipt.attempt);
    else await this.#fail(lease, receipt.attempt, { ended: { class: "invalid", reason: problem } }, 0);
  }

  /** Undefined: the broker did not answer for so long that the message is about to be somebody else's. */
  async #reception(item: ClaimedWork["item"]): Promise<Reception | undefined> {
    const { receiver, ackWaitMs, givenUp, store, log } = this.#options;
    const giveUpAtMs = performance.now() + ackWaitMs / 2;
    const backoff = new Backoff({ initialMs: 50, maxMs: 1_000 });
    for (let isFirstTry = true; ; isFirstTry = false) {
      try {
        return await receiver.receive(this.#message, item, isFirstTry);
      } catch (error) {
        // Nor can whoever holds it renew its claim.
        store.pulse.silent();
        log.warn("message.not-claimed", { id: item.id, worker: item.worker, problem: errorText(error) });
        if (givenUp.aborted || performance.now() > giveUpAtMs) return undefined;
        await pause(backoff.nextMs(), givenUp);
      }
    }
  }

  async #run(lease: WorkLease, attempt: number): Promise<void> {
    const { worker, timeoutMs, store, client, metrics, log } = this.#options;
    const { work } = lease;
    const { message, item } = work;
    this.#running = { lease, attempt };
    if (!(await this.#isPredecessorGone(lease, attempt))) return;
    let timer: NodeJS.Timeout | undefined;
    let beganAtMs: number | undefined;
    const outcome = await runAttempt({
      worker,
      item,
      attempt,
      data: message.data,
      signal: this.#abort.signal,
      begin: () => {
        const bar = this.#bar();
        if (bar !== undefined) return Promise.resolve(bar);
        if (!lease.isFresh) return this.#refreshed(lease);
        lease.keep(Date.now() + timeoutMs);
        timer = setTimeout(() => this.#abort.abort(new HandlerTimeout(timeoutMs)), timeoutMs);
        beganAtMs = performance.now();
        return undefined;
      },
      publish: (outgoing) => publishTo(client, outgoing),
      renew: () => store.broker.renew(message.ack),
      guard: () => this.#guard(),
      log,
    });
    clearTimeout(timer);
    if (this.#isOver) return;
    this.#running = undefined;
    const tookMs = beganAtMs === undefined ? 0 : Math.round(performance.now() - beganAtMs);
    if (beganAtMs !== undefined) {
      lease.handlerEnded();
      metrics.handlerTook(tookMs);
    }
    await this.#settle(lease, attempt, outcome, tookMs);
  }

  /** False: there is nothing more to do here. */
  async #isPredecessorGone(lease: WorkLease, attempt: number): Promise<boolean> {
    const { store, telling, ends } = this.#options;
    const { work } = lease;
    if (work.item.predecessor === undefined) return true;
    lease.keep();
    const step = (): Promise<void> => store.settler.removePredecessor(work.item);
    if (!(await telling.tell(work, step, () => this.#setAside(lease)))) return false;
    if (await lease.release()) return true;
    ends.lost(work, attempt, 0);
    return false;
  }

  /** Why its handler must not begin: it may have been lost, or the process told to end, while it was claimed. */
  #bar(): Outcome | undefined {
    const { aborted, reason } = this.#abort.signal;
    if (reason instanceof LeaseLost) return { kind: "lost" };
    return aborted || this.#isOver ? { kind: "handBack" } : undefined;
  }

  async #refreshed(lease: WorkLease): Promise<Outcome | undefined> {
    let isOurs = true;
    const isTold = await this.#options.telling.tell(lease.work, async () => {
      isOurs = await lease.refresh();
    });
    if (!isTold) return { kind: "handBack" };
    return isOurs ? undefined : { kind: "lost" };
  }

  /** A handler that was handed back, or has ended and left something running, speaks for its message no more. */
  #guard(): void {
    if (this.#isOver || this.#running === undefined) throw new ShuttingDown();
  }

  async #settle(lease: WorkLease, attempt: number, outcome: Outcome, tookMs: number): Promise<void> {
    switch (outcome.kind) {
      case "succeeded":
        return this.#succeed(lease, attempt, tookMs);
      case "failed":
        return this.#fail(lease, attempt, outcome, tookMs);
      case "handBack":
        return this.#handBack(lease, attempt);
      case "lost":
        await lease.release();
        return this.#options.ends.lost(lease.work, attempt, tookMs);
      default:
        return assertNever(outcome);
    }
  }

  /** Nobody else knows that it succeeded: the lease is kept until the broker does, or the message would be worked on once more. */
  async #succeed(lease: WorkLease, attempt: number, tookMs: number): Promise<void> {
    const { store, telling, ends } = this.#options;
    const { work } = lease;
    let settled: Settled | undefined;
    const isTold = await telling.tell(work, async () => {
      settled = await store.settler.succeeded(work);
    });
    if (!isTold) return;
    if (settled?.kind === "lost") {
      await lease.release();
      return ends.lost(work, attempt, tookMs);
    }
    await this.#forget(lease);
    ends.succeeded(work, attempt, tookMs);
  }

  async #fail(lease: WorkLease, attempt: number, failure: WorkFailure, tookMs: number): Promise<void> {
    const { store, telling, ends } = this.#options;
    const { work } = lease;
    if (!(await lease.release())) return ends.lost(work, attempt, tookMs);
    let decided: FailureDecided | undefined;
    const isTold = await telling.tell(work, async () => {
      decided = await store.settler.decide(work, failure);
    });
    if (!isTold || decided === undefined) return;
    if (decided.kind === "lost") return ends.lost(work, attempt, tookMs);
    const { counts, decision } = decided;
    const end = await this.#toStreams(lease, { counts, ended: failure.ended, decision });
    if (end === "written") ends.failed(work, attempt, failure.ended, decision, { tookMs });
    if (end === "lost") ends.lost(work, attempt, tookMs);
  }

  /** What the worker before, or the monitor, has decided. */
  async #writeDown(lease: WorkLease, receipt: Exclude<Receipt, { kind: "leave" | "run" }>): Promise<void> {
    const { counts, ended } = receipt;
    const { work } = lease;
    const decision: WorkDecision =
      receipt.kind === "dead" ? { kind: "dead", why: receipt.why } : { kind: "retry", delayMs: receipt.delayMs };
    const end = await this.#toStreams(lease, { counts, ended, decision }, () =>
      this.#options.store.settler.removePredecessor(work.item),
    );
    if (end === "written") this.#options.ends.failed(work, counts.failures + counts.free, ended, decision, {});
    if (end === "lost") this.#left(work.item, "another worker goes on with it");
  }

  /** The retry or the DLQ entry of a failure that is decided. `left`: whoever is given the message next does it. */
  async #toStreams(
    lease: WorkLease,
    { counts, ended, decision }: { readonly counts: WorkCounts; readonly ended: WorkEnd; readonly decision: WorkDecision },
    before: () => Promise<void> = () => Promise.resolve(),
  ): Promise<"written" | "lost" | "left"> {
    const { store, telling } = this.#options;
    const { work } = lease;
    lease.keep();
    let isOurs = true;
    const step = async (): Promise<void> => {
      isOurs = await lease.refresh();
      if (!isOurs) return;
      await before();
      await store.settler.writeDown(work, counts, ended, decision);
    };
    if (!(await telling.tell(work, step, () => this.#setAside(lease)))) return "left";
    if (!isOurs) return "lost";
    await this.#forget(lease);
    return "written";
  }

  async #forget(lease: WorkLease): Promise<void> {
    if (await lease.release()) await this.#options.store.settler.forget(lease.work);
  }

  async #handBack(lease: WorkLease, attempt: number): Promise<void> {
    const { store, ends } = this.#options;
    if (!(await lease.release())) return ends.lost(lease.work, attempt, 0);
    const settled = await store.settler.handedBack(lease.work);
    if (settled.kind === "lost") return ends.lost(lease.work, attempt, 0);
    ends.handedBack(lease.work, attempt);
  }

  /** False: its claim could not be written, and stays kept. */
  async #setAside(lease: WorkLease): Promise<boolean> {
    if (!(await lease.release())) return true;
    try {
      await this.#options.store.settler.setAside(lease.work);
      return true;
    } catch {
      lease.keep();
      return false;
    }
  }

  #left({ id, worker }: ClaimedWork["item"], why: string): void {
    this.#options.log.info("message.left", { id, worker, delivery: this.#message.delivery, why });
  }
}
