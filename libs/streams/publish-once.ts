import { SOURCE_HEADER } from "../contract/event.ts";
import type { Broker } from "./broker.ts";

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
  readonly #broker: Broker;

  constructor(options: { readonly broker: Broker }) {
    this.#broker = options.broker;
  }

  async publish(entry: Entry): Promise<"published" | "already"> {
    const { stream, subject, body } = entry;
    const headers = { ...entry.headers, [SOURCE_HEADER]: entry.source };
    let expectedLastSequence = 0;
    for (;;) {
      const outcome = await this.#broker.publish({ stream, subject, headers, body, expectedLastSequence });
      if (outcome.kind === "stored") return "published";
      const there = await this.#broker.last(stream, subject);
      if (there?.headers[SOURCE_HEADER]?.[0] === entry.source) return "already";
      expectedLastSequence = there?.seq ?? 0;
    }
  }
}
