import type { NatsConnection } from "@nats-io/transport-node";
import { BUCKET, bucketStream, bucketSubject } from "../contract/streams.ts";
import type { Broker } from "./broker.ts";
import { JetStreamBroker } from "./jetstream-broker.ts";

const STREAM = bucketStream(BUCKET.logs);

/** The ends of the logs of attempts that did not succeed: KV bucket `millrace_logs`, key `<hash>.<attempt>`. */
export class LogTails {
  readonly #broker: Pick<Broker, "publish" | "last">;

  constructor(options: { readonly broker: Pick<Broker, "publish" | "last"> }) {
    this.#broker = options.broker;
  }

  static async open(connection: NatsConnection): Promise<LogTails> {
    return new LogTails({ broker: await JetStreamBroker.open(connection) });
  }

  /**
   * May be repeated: the same text is written once, another one replaces it, as a tail that was read later does. Of two monitors that keep
   * the tail of one attempt at the same moment the first one's stays.
   */
  async put(hash: string, attempt: number, text: string): Promise<void> {
    const subject = subjectOf(hash, attempt);
    const stored = await this.#broker.last(STREAM, subject);
    if (stored !== undefined && textOf(stored.data) === text) return;
    await this.#broker.publish({ stream: STREAM, subject, headers: {}, body: text, expectedLastSequence: stored?.seq ?? 0 });
  }

  async get(hash: string, attempt: number): Promise<string | undefined> {
    const stored = await this.#broker.last(STREAM, subjectOf(hash, attempt));
    return stored === undefined ? undefined : textOf(stored.data);
  }
}

function subjectOf(hash: string, attempt: number): string {
  return bucketSubject(BUCKET.logs, `${hash}.${attempt}`);
}

function textOf(data: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(data);
}
