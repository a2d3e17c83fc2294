import { errorText } from "../contract/errors.ts";
import { Backoff, pause } from "../runtime/backoff.ts";
import type { Log } from "../runtime/log.ts";
import type { KubeClient } from "./client.ts";
import { apiStatus, isKubeApiError, KubeApiError } from "./errors.ts";

interface ObjectMeta {
  readonly namespace?: string;
  readonly name?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
}
interface KubeObject {
  readonly metadata?: ObjectMeta;
}
interface ObjectList {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: readonly KubeObject[];
}

export type Change<View> = { readonly kind: "present"; readonly view: View } | { readonly kind: "gone"; readonly last: View };

const PAGE_SIZE = 500;
/**
 * The server ends each watch after this long, and a quiet kind may send nothing at all until then (bookmarks come only when the store's
 * resource version moves); a little more silence than that is a dead connection. Resuming costs one request, so the time is short.
 */
const WATCH_SECONDS = 60;
const SILENCE_MS = (WATCH_SECONDS + 10) * 1000;
/** A server that ends every watch sooner than this is in trouble. */
const SHORT_LIVED_MS = 5_000;

/**
 * List and watch of one kind in one place, kept as projections.
 *
 *   list → watching → (closed, error, silence) → watching from the last resource version
 *                   → (410 Gone)               → list
 *
 * Semantics of client-go's reflector: every way out ends in the same jittered backoff and goes on for ever; a new list is compared by uid,
 * so that what went away during a gap is reported as gone. A change is handed on only after it is in the store, one at a time.
 */
export class Watch<View extends { readonly uid: string }> {
  readonly #client: KubeClient;
  readonly #path: string;
  readonly #selector: Readonly<Record<string, string>>;
  readonly #project: (object: KubeObject) => View;
  readonly #onChange: (change: Change<View>) => void;
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #wait: (delayMs: number, signal: AbortSignal) => Promise<void>;
  readonly #stop = new AbortController();
  readonly #store = new Map<string, View>();
  readonly #backoff = new Backoff({ initialMs: 200, maxMs: 15_000 });
  #resourceVersion: string | undefined;
  #running: Promise<void> | undefined;
  #problem: string | undefined = "the first list has not come";
  readonly #synced = Promise.withResolvers<void>();
  readonly #refused = Promise.withResolvers<void>();

  constructor(options: {
    readonly client: KubeClient;
    readonly path: string;
    readonly selector: Readonly<Record<string, string>>;
    readonly project: (object: KubeObject) => View;
    readonly onChange: (change: Change<View>) => void;
    readonly log: Log;
    readonly nowMs?: () => number;
    readonly wait?: (delayMs: number, signal: AbortSignal) => Promise<void>;
  }) {
    this.#client = options.client;
    this.#path = options.path;
    this.#selector = options.selector;
    this.#project = options.project;
    this.#onChange = options.onChange;
    this.#log = options.log;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#wait = options.wait ?? pause;
  }

  /** Resolves after the first complete list. */
  async start(): Promise<void> {
    this.#running ??= this.#run();
    await this.#synced.promise;
  }

  /** Resolves after the first complete list, or when the server first says that there is none to be had (403, 404). */
  async startOrRefused(): Promise<void> {
    this.#running ??= this.#run();
    await Promise.race([this.#synced.promise, this.#refused.promise]);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#synced.resolve();
    await this.#running;
  }

  /** Undefined while the store follows the server; sweeps may act only then. */
  problem(): string | undefined {
    return this.#problem;
  }

  values(): IterableIterator<View> {
    return this.#store.values();
  }

  get(uid: string): View | undefined {
    return this.#store.get(uid);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        if (this.#resourceVersion === undefined) await this.#list();
        this.#synced.resolve();
        const openedAtMs = this.#nowMs();
        await this.#watch();
        // A quiet kind may end many watches without a line: only one that ends at once is a reason to wait, for waiting is not seeing.
        if (this.#nowMs() - openedAtMs < SHORT_LIVED_MS) await this.#wait(this.#backoff.nextMs(), signal);
        else this.#backoff.reset();
      } catch (error) {
        if (signal.aborted) return;
        if (isKubeApiError(error) && error.isGone()) this.#resourceVersion = undefined;
        if (isKubeApiError(error) && (error.status === 403 || error.isNotFound())) this.#refused.resolve();
        this.#problem = errorText(error);
        this.#log.warn("watch.interrupted", { path: this.#path, problem: this.#problem });
        await this.#wait(this.#backoff.nextMs(), signal);
      }
    }
  }

  async #list(): Promise<void> {
    const seen = new Map<string, View>();
    let token: string | undefined;
    let resourceVersion: string;
    do {
      const page: ObjectList = await this.#client.json<ObjectList>({
        method: "GET",
        path: this.#path,
        query: { ...this.#selector, limit: String(PAGE_SIZE), ...(token === undefined ? {} : { continue: token }) },
        signal: this.#stop.signal,
      });
      for (const object of page.items) {
        const view = this.#project(object);
        seen.set(view.uid, view);
      }
      resourceVersion = page.metadata.resourceVersion;
      token = page.metadata.continue === "" ? undefined : page.metadata.continue;
    } while (token !== undefined);
    for (const [uid, last] of this.#store) if (!seen.has(uid)) this.#remove(uid, last);
    for (const view of seen.values()) this.#put(view);
    this.#resourceVersion = resourceVersion;
    this.#problem = undefined;
  }

  async #watch(): Promise<void> {
    const silence = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, silence.signal]);
    const expire = (): void => silence.abort(new Error(`no byte from the API server for ${SILENCE_MS / 1000} s`));
    let watchdog = setTimeout(expire, SILENCE_MS);
    try {
      const body = await this.#client.stream({
        method: "GET",
        path: this.#path,
        query: {
          ...this.#selector,
          watch: "true",
          allowWatchBookmarks: "true",
          timeoutSeconds: String(WATCH_SECONDS),
          resourceVersion: this.#resourceVersion ?? "",
        },
        signal,
      });
      this.#problem = undefined;
      for await (const line of lines(body)) {
        this.#backoff.reset();
        clearTimeout(watchdog);
        watchdog = setTimeout(expire, SILENCE_MS);
        this.#apply(JSON.parse(line) as { type: string; object: KubeObject });
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  #apply(event: { readonly type: string; readonly object: KubeObject }): void {
    if (event.type === "ERROR") {
      const status = apiStatus.parse(event.object);
      throw new KubeApiError({ status: status.code, reason: status.reason, message: `watch ${this.#path}: ${status.message}` });
    }
    if (event.type !== "BOOKMARK") {
      const view = this.#project(event.object);
      if (event.type === "DELETED") this.#remove(view.uid, view);
      else this.#put(view);
    }
    this.#resourceVersion = event.object.metadata?.resourceVersion ?? this.#resourceVersion;
  }

  #put(view: View): void {
    this.#store.set(view.uid, view);
    this.#onChange({ kind: "present", view });
  }

  #remove(uid: string, last: View): void {
    this.#store.delete(uid);
    this.#onChange({ kind: "gone", last });
  }
}

/** A watch is one JSON object per line, cut anywhere by the network. */
async function* lines(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    const pieces = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = pieces.pop() ?? "";
    for (const piece of pieces) if (piece !== "") yield piece;
  }
}
