import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager, type StoredMsg } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { BUCKET, bucketStream, bucketSubject } from "../contract/streams.ts";
import { isWrongLastSequence } from "./errors.ts";

/** The ends of the logs of attempts that did not succeed: KV bucket `millrace_logs`, key `<hash>.<attempt>`. */
export class LogTails {
  readonly #client: JetStreamClient;
  readonly #manager: JetStreamManager;

  private constructor(client: JetStreamClient, manager: JetStreamManager) {
    this.#client = client;
    this.#manager = manager;
  }

  static async open(connection: NatsConnection): Promise<LogTails> {
    return new LogTails(jetstream(connection), await jetstreamManager(connection));
  }

  /** May be repeated: the same text is written once, another one replaces it, as a tail that was read later does. */
  async put(hash: string, attempt: number, text: string): Promise<void> {
    const stored = await this.#read(hash, attempt);
    if (stored?.string() === text) return;
    try {
      await this.#client.publish(subjectOf(hash, attempt), text, { expect: { lastSubjectSequence: stored?.seq ?? 0 } });
    } catch (error) {
      // Another monitor kept the tail of this attempt at the same time; one is enough.
      if (!isWrongLastSequence(error)) throw error;
    }
  }

  async get(hash: string, attempt: number): Promise<string | undefined> {
    return (await this.#read(hash, attempt))?.string();
  }

  async #read(hash: string, attempt: number): Promise<StoredMsg | undefined> {
    const stored = await this.#manager.streams.getMessage(bucketStream(BUCKET.logs), { last_by_subj: subjectOf(hash, attempt) });
    return stored ?? undefined;
  }
}

function subjectOf(hash: string, attempt: number): string {
  return bucketSubject(BUCKET.logs, `${hash}.${attempt}`);
}
