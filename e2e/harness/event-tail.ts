import { type ConsumerMessages, jetstream } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { SOURCE_HEADER } from "../../libs/contract/event.ts";
import { STREAM } from "../../libs/contract/streams.ts";

export interface TailedEvent {
  readonly subject: string;
  readonly queue: string;
  readonly hash: string;
  readonly attempt: number;
  readonly kind: string;
  readonly source: string;
  readonly time: string;
  readonly data: Readonly<Record<string, unknown>>;
}

const DEFAULT_TIMEOUT_MS = 120_000;

/** Everything in EVENTS, as it is stored, so that tests wait for what happened and never for time. */
export class EventTail implements AsyncDisposable {
  readonly events: TailedEvent[] = [];
  readonly #messages: ConsumerMessages;
  readonly #listeners = new Set<() => void>();
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
    const { promise, resolve, reject } = Promise.withResolvers<TailedEvent[]>();
    const look = (): void => {
      const found = this.events.filter(matches);
      if (found.length >= count) resolve(found);
    };
    const timer = setTimeout(() => {
      const seen = this.events.filter(matches).length;
      reject(
        new Error(
          `waited ${timeoutMs / 1000} s for ${count} × ${what}, saw ${seen}; last: ${JSON.stringify(this.events.slice(-5))}`,
        ),
      );
    }, timeoutMs);
    this.#listeners.add(look);
    look();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#listeners.delete(look);
    }
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
      this.events.push({ subject: message.subject, queue, hash, attempt: Number(attempt), kind, source, time, data });
      for (const listener of this.#listeners) listener();
    }
  }
}
