import { type ConsumerMessages, jetstream } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { SOURCE_HEADER } from "../../libs/contract/event.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { atLeast, Changes } from "./changes.ts";

export interface TailedEvent {
  readonly subject: string;
  readonly queue: string;
  readonly hash: string;
  readonly attempt: number;
  readonly kind: string;
  readonly source: string;
  readonly time: string;
  /** By NATS' clock, which is this machine's; whoever wrote it may have another. */
  readonly storedAtMs: number;
  readonly data: Readonly<Record<string, unknown>>;
}

const DEFAULT_TIMEOUT_MS = 120_000;

/** Everything in EVENTS, as it is stored, so that tests wait for what happened and never for time. */
export class EventTail implements AsyncDisposable {
  readonly events: TailedEvent[] = [];
  readonly #messages: ConsumerMessages;
  readonly #changes = new Changes();
  readonly #reading: Promise<void>;

  private constructor(messages: ConsumerMessages) {
    this.#messages = messages;
    this.#reading = this.#read();
  }

  static async open(connection: NatsConnection): Promise<EventTail> {
    const consumer = await jetstream(connection).consumers.get(STREAM.events);
    // Soon after NATS was away the reading goes on; the client's default is to find that out after half a minute.
    return new EventTail(await consumer.consume({ idle_heartbeat: 2_000 }));
  }

  /** Resolves with the events that match once there are `count` of them. */
  async waitFor(
    what: string,
    matches: (event: TailedEvent) => boolean,
    count = 1,
    timeoutMs = DEFAULT_TIMEOUT_MS,
  ): Promise<TailedEvent[]> {
    const find = (): TailedEvent[] => this.events.filter(matches);
    return this.#changes.until(() => atLeast(count, find()), {
      what: `${count} × ${what}`,
      limitMs: timeoutMs,
      seen: () => ({ matching: find().length, last: this.events.slice(-5) }),
    });
  }

  /** Resolves when the events are such that it holds. */
  async waitUntil(what: string, holds: () => boolean, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<void> {
    await this.#changes.untilTrue(holds, { what, limitMs: timeoutMs, seen: () => this.events.slice(-5) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#messages.close();
    await this.#reading;
  }

  async #read(): Promise<void> {
    for await (const message of this.#messages) {
      const [, queue = "", hash = "", attempt = "", kind = ""] = message.subject.split(".");
      const { data, time } = message.json<{ readonly data: Record<string, unknown>; readonly time: string }>();
      const source = message.headers?.get(SOURCE_HEADER) ?? "";
      const storedAtMs = Number(message.timestampNanos / 1_000_000n);
      const { subject } = message;
      this.events.push({ subject, queue, hash, attempt: Number(attempt), kind, source, time, storedAtMs, data });
      this.#changes.announce();
    }
  }
}
