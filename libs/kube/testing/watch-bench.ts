import { pause } from "../../runtime/backoff.ts";
import { type Log, silentLog } from "../../runtime/log.ts";
import { type Change, Watch } from "../watch.ts";
import { type Asked, FakeApiServer, json } from "./fake-api-server.ts";

export interface View {
  readonly uid: string;
  readonly name: string;
}

export const object = (uid: string, resourceVersion = "1", name = uid) => ({ metadata: { uid, name, resourceVersion } });
export const line = (type: string, body: unknown): string => `${JSON.stringify({ type, object: body })}\n`;
export const bookmark = (resourceVersion: string): string => line("BOOKMARK", { metadata: { resourceVersion } });

/**
 * A watch and the API server that it asks. Each request is handed to the test, in order, and the test answers it; or all to `answer`. The clock
 * stands still but for the pauses that the watch makes.
 */
export class WatchBench implements AsyncDisposable {
  readonly watch: Watch<View>;
  readonly server: FakeApiServer;
  /** `present a`, `gone a`, and `=name` where the name is another. */
  readonly changes: string[] = [];
  readonly waits: number[] = [];
  /** Why each list was made: `first`, …; `astray missed`, when a check found something. */
  readonly reasons: string[] = [];
  /** How many lists were complete. */
  listsDone = 0;
  clockMs = 0;
  /** Told of each change when it happens. */
  onChange: (change: Change<View>) => void = () => {};
  #changed = Promise.withResolvers<void>();
  readonly #inbox: Inbox;

  private constructor(server: FakeApiServer, inbox: Inbox) {
    this.server = server;
    this.#inbox = inbox;
    this.watch = new Watch<View>({
      client: server.client,
      path: "/apis/batch/v1/namespaces/jobs/jobs",
      selector: { labelSelector: "a=b" },
      project: ({ metadata }) => ({ uid: metadata.uid, name: metadata.name ?? "" }),
      onChange: (change) => this.#note(change),
      onListed: () => {
        this.listsDone += 1;
      },
      log: this.#log,
      nowMs: () => this.clockMs,
      wait: (delayMs, signal) => {
        this.waits.push(delayMs);
        this.clockMs += delayMs;
        return pause(1, signal);
      },
    });
  }

  get #log(): Log {
    return {
      ...silentLog,
      info: (event, { reason } = {}) => void (event === "watch.listed" && this.reasons.push(String(reason))),
      warn: (event, { reason } = {}) => void (event === "watch.astray" && this.reasons.push(`astray ${reason}`)),
    };
  }

  static async start(answer?: (asked: Asked) => void): Promise<WatchBench> {
    const inbox = new Inbox();
    return new WatchBench(await FakeApiServer.start(answer ?? ((asked) => inbox.put(asked))), inbox);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.watch.stop();
    await this.server[Symbol.asyncDispose]();
  }

  /** Waits until this many changes have been handed on. */
  async seen(count: number): Promise<readonly string[]> {
    while (this.changes.length < count) await this.#changed.promise;
    return this.changes;
  }

  next(): Promise<Asked> {
    return this.#inbox.next();
  }

  /** The next request, which must be a list. */
  async list(): Promise<Asked> {
    const asked = await this.next();
    if (asked.query.get("watch") !== null) throw new Error(`a watch came from ${asked.query.get("resourceVersion")}, not a list`);
    return asked;
  }

  /** The next request, which must be a watch from this version. */
  async follow(resourceVersion: string): Promise<Asked> {
    const asked = await this.next();
    const from = asked.query.get("watch") === null ? "a list" : asked.query.get("resourceVersion");
    if (from !== resourceVersion) throw new Error(`the watch was to begin at ${resourceVersion}, and asked for ${from}`);
    return asked;
  }

  async listed(resourceVersion: string, ...uids: readonly string[]): Promise<void> {
    const { response } = await this.list();
    json(response, 200, { metadata: { resourceVersion }, items: uids.map((uid) => object(uid)) });
  }

  async following(resourceVersion: string): Promise<Asked["response"]> {
    const { response } = await this.follow(resourceVersion);
    response.writeHead(200).flushHeaders();
    return response;
  }

  /** Follows from version 10, and these are there. */
  async begun(...uids: readonly string[]): Promise<Asked["response"]> {
    const started = this.watch.start();
    await this.listed("10", ...uids);
    await started;
    return this.following("10");
  }

  #note(change: Change<View>): void {
    const { uid, name } = change.kind === "gone" ? change.last : change.view;
    this.changes.push(`${change.kind} ${uid}${name === uid ? "" : `=${name}`}`);
    this.onChange(change);
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

class Inbox {
  readonly #waiting: ((asked: Asked) => void)[] = [];
  readonly #come: Asked[] = [];

  put(asked: Asked): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#come.push(asked);
    else waiting(asked);
  }

  next(): Promise<Asked> {
    const come = this.#come.shift();
    return come === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(come);
  }
}
