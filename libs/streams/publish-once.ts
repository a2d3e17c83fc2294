import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import { SOURCE_HEADER } from "../contract/event.ts";
import { isWrongLastSequence } from "./errors.ts";

export interface Entry {
  readonly stream: string;
  readonly subject: string;
  /** Who caused the entry. Published again with the same source it is the same entry. */
  readonly source: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: Uint8Array | string;
}

/**
 * Publishes an entry at most once for its subject and source, however often it is asked to and by however many (rules S2, S3).
 *
 * `Nats-Msg-Id` is not enough: it is forgotten after its window and, on a work-queue, after a restart. So each publish expects a sequence on
 * its subject: first none; when there is an entry of another source (a former life whose record expired), that entry's.
 */
export class OncePublisher {
  readonly #client: JetStreamClient;
  readonly #manager: JetStreamManager;

  private constructor(client: JetStreamClient, manager: JetStreamManager) {
    this.#client = client;
    this.#manager = manager;
  }

  static async open(connection: NatsConnection): Promise<OncePublisher> {
    return new OncePublisher(jetstream(connection), await jetstreamManager(connection));
  }

  async publish(entry: Entry): Promise<"published" | "already"> {
    const head = headers();
    for (const [name, value] of Object.entries(entry.headers ?? {})) head.set(name, value);
    head.set(SOURCE_HEADER, entry.source);
    let expected = 0;
    for (;;) {
      try {
        await this.#client.publish(entry.subject, entry.body, {
          headers: head,
          expect: { streamName: entry.stream, lastSubjectSequence: expected },
        });
        return "published";
      } catch (error) {
        if (!isWrongLastSequence(error)) throw error;
      }
      const there = await this.#manager.streams.getMessage(entry.stream, { last_by_subj: entry.subject });
      if (there?.header?.get(SOURCE_HEADER) === entry.source) return "already";
      expected = there?.seq ?? 0;
    }
  }
}
