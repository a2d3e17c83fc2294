import type { JetStreamManager } from "@nats-io/jetstream";
import type { Msg, MsgHdrs, NatsConnection, Subscription } from "@nats-io/transport-node";
import { STREAM } from "../../libs/contract/streams.ts";
import { workAtFilter, workRunFilter } from "../../libs/contract/work-subjects.ts";
import { nextMessage } from "../../libs/streams/next-message.ts";
import { DueTimes } from "./due-times.ts";

const SCHEDULE_HEADER = "Nats-Schedule";
/** Read one by one and with their bodies, so only so many; a worker's slow poll finds the others. */
const SLEEPING_READ = 1_000;

export type Cause = "published" | "due";

/**
 * Hints that there may be work, by plain subscriptions; nothing depends on one arriving.
 *
 *   (arm) armed → (first message) disarmed → (arm) …            and, always, a timer for each retry that is put to sleep
 *
 * Armed it takes one message from each subject and no more: what comes after the first tells nothing new, and a burst would cost the bandwidth of
 * all its bodies.
 */
export class WakeUps {
  readonly #connection: NatsConnection;
  readonly #manager: JetStreamManager;
  readonly #worker: string;
  readonly #subjects: readonly string[];
  readonly #onWake: (cause: Cause) => void;
  readonly #due: DueTimes;
  #sleeping: Subscription;
  #armed: readonly Subscription[] = [];
  #closed = false;

  constructor(options: {
    readonly connection: NatsConnection;
    readonly manager: JetStreamManager;
    readonly worker: string;
    readonly subject: string;
    /** By the server's clock, which fires the schedules (rule S6). */
    readonly serverNowMs: () => number;
    readonly onWake: (cause: Cause) => void;
  }) {
    this.#connection = options.connection;
    this.#manager = options.manager;
    this.#worker = options.worker;
    this.#subjects = [options.subject, workRunFilter(options.worker)];
    this.#onWake = options.onWake;
    this.#due = new DueTimes({ nowMs: options.serverNowMs, onDue: () => this.#onWake("due") });
    this.#sleeping = this.#hearSleeping();
  }

  get isArmed(): boolean {
    return this.#armed.length > 0;
  }

  /** Whatever is asked of the server after this is answered when it listens already: it takes a connection's lines in order. */
  arm(): void {
    if (this.isArmed || this.#closed) return;
    this.#armed = this.#subjects.map((subject) =>
      this.#connection.subscribe(subject, {
        max: 1,
        callback: (error) => {
          if (error === null) this.#wake();
        },
      }),
    );
  }

  disarm(): void {
    for (const subscription of this.#armed) if (!subscription.isClosed()) subscription.unsubscribe();
    this.#armed = [];
  }

  /** What NATS did not permit to be heard is closed for good: after a reconnect it may permit it. Arm it then. */
  renew(): void {
    if (this.#closed) return;
    if (this.#armed.some((subscription) => subscription.isClosed())) this.disarm();
    if (this.#sleeping.isClosed()) this.#sleeping = this.#hearSleeping();
  }

  /** Retries that were put to sleep while nobody listened. Cut short by `close`. */
  async readSleeping(): Promise<void> {
    let seq = 1;
    for (let read = 0; read < SLEEPING_READ && !this.#closed; read += 1) {
      const stored = await nextMessage(this.#manager, STREAM.workRetry, workAtFilter(this.#worker), seq);
      if (stored === null) return;
      this.#noteDue({ headers: stored.header });
      seq = stored.seq + 1;
    }
  }

  close(): void {
    this.#closed = true;
    this.disarm();
    this.#due.clear();
    if (!this.#sleeping.isClosed()) this.#sleeping.unsubscribe();
  }

  #hearSleeping(): Subscription {
    return this.#connection.subscribe(workAtFilter(this.#worker), {
      callback: (error, message) => {
        if (error === null) this.#noteDue(message);
      },
    });
  }

  #wake(): void {
    if (!this.isArmed) return;
    this.disarm();
    this.#onWake("published");
  }

  #noteDue({ headers }: Pick<Msg, "headers">): void {
    const atMs = scheduledAt(headers);
    if (atMs !== undefined && !this.#closed) this.#due.add(atMs);
  }
}

/** ADR-51: `@at <RFC 3339>`. The other schedules are not ours. */
export function scheduledAt(headers: MsgHdrs | undefined): number | undefined {
  const text = /^@at (\S{1,64})$/.exec(headers?.get(SCHEDULE_HEADER) ?? "")?.[1];
  const atMs = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(atMs) ? undefined : atMs;
}
