import { errorText } from "../../libs/contract/errors.ts";
import { workConsumerName } from "../../libs/contract/streams.ts";
import { Backoff, pause } from "../../libs/runtime/backoff.ts";
import type { Log } from "../../libs/runtime/log.ts";
import { WORK_STREAMS, type WorkConsumers } from "../../libs/streams/work-consumers.ts";
import type { PullEnd, WorkPull } from "../../libs/streams/work-pull.ts";

/**
 * How long a request for one message is open. As long may the end of an idle process take, because a request cannot be taken back: what it brings
 * would be lost for ack_wait.
 */
const REQUEST_MS = 3_000;

export interface PullLoopOptions {
  readonly worker: string;
  readonly concurrency: number;
  readonly pull: Pick<WorkPull, "request" | "close">;
  readonly consumers: Pick<WorkConsumers, "problem">;
  /** Nothing is asked of a broker that is away: it would be waited for, for seconds after it is there again. */
  readonly isConnected: () => boolean;
  readonly log: Log;
  readonly requestMs?: number;
  readonly onProblem: (problem: string | undefined) => void;
  /** The broker is there and gives no answer. */
  readonly onSilent: () => void;
}

/**
 * Asks for messages as slots are free: first for what is due again, then for what is new, in one request each for as many as there are slots. Only
 * when there is nothing, it waits on both consumers at once, with a request for one message each, so that neither waits for the other's. So no more
 * than two messages can ever come that have no slot; those are handed back at once.
 *
 *   waiting for the consumers → pulling → (consumer gone, broker silent) → waiting …        → closed: nothing more is asked for
 */
export class PullLoop {
  readonly #options: PullLoopOptions;
  readonly #consumer: string;
  readonly #requestMs: number;
  readonly #closing = new AbortController();
  readonly #open = new Map<string, Promise<void>>();
  readonly #backoff = new Backoff({ initialMs: 100, maxMs: 2_000 });
  #taken = 0;
  #trouble: string | undefined;
  #woken = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;

  constructor(options: PullLoopOptions) {
    this.#options = options;
    this.#consumer = workConsumerName(options.worker);
    this.#requestMs = options.requestMs ?? REQUEST_MS;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Takes a slot for a message that has come. False: there is none, and the message goes back. */
  take(): boolean {
    if (this.#closing.signal.aborted || this.#free === 0) return false;
    this.#taken += 1;
    return true;
  }

  free(): void {
    this.#taken -= 1;
    this.#wake();
  }

  /** Nothing more is asked for, and nothing more is taken. Resolves when nothing can come any more. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#wake();
    await this.#running;
    await Promise.all(this.#open.values());
    await this.#options.pull.close();
  }

  get #free(): number {
    return this.#options.concurrency - this.#taken;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const problem = await this.#consumerProblem();
      this.#options.onProblem(problem);
      if (problem === undefined) await this.#pullUntilTrouble();
      else await pause(this.#backoff.nextMs(), signal);
    }
  }

  async #consumerProblem(): Promise<string | undefined> {
    if (!this.#options.isConnected()) return "NATS is away";
    try {
      return await this.#options.consumers.problem();
    } catch (error) {
      this.#options.onSilent();
      return `cannot ask for the consumers: ${errorText(error)}`;
    }
  }

  async #pullUntilTrouble(): Promise<void> {
    const { signal } = this.#closing;
    this.#trouble = undefined;
    this.#backoff.reset();
    while (!signal.aborted && this.#trouble === undefined) {
      this.#woken = Promise.withResolvers();
      await this.#askForWhatIsThere();
      if (this.#trouble !== undefined) break;
      this.#waitForMore();
      await this.#woken.promise;
    }
    if (this.#trouble === undefined || signal.aborted) return;
    this.#options.onProblem(this.#trouble);
    this.#options.log.warn("pull.interrupted", { problem: this.#trouble });
    await pause(this.#backoff.nextMs(), signal);
  }

  async #askForWhatIsThere(): Promise<void> {
    for (const stream of WORK_STREAMS) {
      // A request that waits there already would have brought it.
      if (this.#free === 0 || this.#closing.signal.aborted || this.#open.has(stream)) continue;
      this.#note(await this.#request(stream, this.#free, 0), stream);
    }
  }

  #waitForMore(): void {
    if (this.#free === 0 || this.#closing.signal.aborted) return;
    for (const stream of WORK_STREAMS) {
      if (this.#open.has(stream)) continue;
      const waiting = this.#request(stream, 1, this.#requestMs).then((end) => {
        this.#open.delete(stream);
        this.#note(end, stream);
        this.#wake();
      });
      this.#open.set(stream, waiting);
    }
  }

  #request(stream: string, batch: number, expiresMs: number): Promise<PullEnd> {
    return this.#options.pull.request({ stream, consumer: this.#consumer, batch, expiresMs });
  }

  #note(end: PullEnd, stream: string): void {
    if (end.kind === "silent") this.#options.onSilent();
    if (end.kind === "missing") this.#trouble = `consumer ${this.#consumer} on ${stream} is gone`;
    else if (end.kind === "silent") this.#trouble = `the broker does not answer for ${stream}`;
    else if (end.kind === "refused") this.#trouble = `the broker refuses to give messages of ${stream}: ${end.why}`;
  }

  #wake(): void {
    this.#woken.resolve();
  }
}
