import type { Context, ContextLog } from "../context.ts";
import { ShuttingDown } from "../errors.ts";
import type { Outgoing, Published, PublishOptions } from "../published.ts";
import { outgoing, PublishNames } from "../publisher.ts";

/** What a handler published, as the broker would have got it. */
export type TestPublication = Outgoing;

export interface TestLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface TestContextOptions<Data> {
  readonly data: Data;
  /** The worker's name. Default: `test-worker`. */
  readonly worker?: string;
  /** Default: `test-message`. */
  readonly id?: string;
  /** Default: 1. */
  readonly attempt?: number;
  readonly subject?: string;
  readonly headers?: Readonly<Record<string, readonly string[]>>;
  /** Called for each publish; what it throws, `ctx.publish` throws. */
  readonly onPublish?: (publication: TestPublication) => void;
}

/** A handler's context without a broker: it records what the handler does. */
export interface TestContext<Data = unknown> extends Context<Data> {
  readonly published: readonly TestPublication[];
  readonly logged: readonly TestLine[];
  /** How often `progress` was called. */
  readonly progressed: number;
  /** Aborts `ctx.signal`. Default reason: `ShuttingDown`. */
  abort(reason?: unknown): void;
}

/** A context to call a handler with. `runHandler` checks the schema, too. */
export function createTestContext<Data>(options: TestContextOptions<Data>): TestContext<Data> {
  const { data, worker = "test-worker", id = "test-message", attempt = 1, subject = "test", headers = {} } = options;
  const controller = new AbortController();
  const record = new TestRecord(options.onPublish);
  const names = new PublishNames({ worker, id });
  return {
    id,
    attempt,
    data,
    subject,
    headers,
    signal: controller.signal,
    log: record.log,
    published: record.published,
    logged: record.logged,
    get progressed() {
      return record.progressed;
    },
    progress: () => record.progress(),
    publish: async (to: string, body: unknown, publishOptions: PublishOptions = {}) =>
      record.publish(outgoing(to, body, publishOptions, names, {})),
    abort: (reason = new ShuttingDown()) => controller.abort(reason),
  };
}

/** What a handler did. */
export class TestRecord {
  readonly published: TestPublication[] = [];
  readonly logged: TestLine[] = [];
  progressed = 0;
  readonly #onPublish: ((publication: TestPublication) => void) | undefined;

  constructor(onPublish: ((publication: TestPublication) => void) | undefined) {
    this.#onPublish = onPublish;
  }

  readonly log: ContextLog = {
    debug: (event, fields = {}) => void this.logged.push({ level: "debug", event, fields }),
    info: (event, fields = {}) => void this.logged.push({ level: "info", event, fields }),
    warn: (event, fields = {}) => void this.logged.push({ level: "warn", event, fields }),
    error: (event, fields = {}) => void this.logged.push({ level: "error", event, fields }),
  };

  progress(): void {
    this.progressed += 1;
  }

  /** As a stream does: a name that it knows is a duplicate, and not stored again. */
  publish(message: Outgoing): Promise<Published> {
    this.#onPublish?.(message);
    const name = message.headers["Nats-Msg-Id"];
    const known = this.published.findIndex(({ headers }) => headers["Nats-Msg-Id"] === name);
    if (known >= 0) return Promise.resolve({ stream: "test", seq: known + 1, duplicate: true });
    this.published.push(message);
    return Promise.resolve({ stream: "test", seq: this.published.length, duplicate: false });
  }
}
