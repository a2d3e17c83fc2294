import { setImmediate } from "node:timers/promises";
import { assertNever, errorText } from "../contract/errors.ts";
import { Backoff, pause } from "../runtime/backoff.ts";
import type { Log } from "../runtime/log.ts";
import type { KubeClient } from "./client.ts";
import { isForbidden, isKubeApiError, isNotFound, KubeApiError } from "./errors.ts";
import { type KubeObject, lines, readEvent, readPage, UNREADABLE, type WatchEvent } from "./watch-wire.ts";

export type Change<View> = { readonly kind: "present"; readonly view: View } | { readonly kind: "gone"; readonly last: View };

const PAGE_SIZE = 500;
const LARGEST_PAGE_SIZE = 4_000;
/** The API server gives up a request after 60 s. */
const PAGE_LIMIT_MS = 70_000;
/**
 * The server ends each watch after this long, and a quiet kind may send nothing at all until then (bookmarks come only when the store's
 * resource version moves); one that has not ended a little later is a dead connection. Resuming costs one request, so the time is short.
 */
const WATCH_SECONDS = 60;
const WATCH_LIMIT_MS = (WATCH_SECONDS + 10) * 1000;
/** A server that ends every watch sooner than this is in trouble. */
const SHORT_LIVED_MS = 5_000;
/**
 * Without a word for longer than this, a watch that broke begins anew with a list: the server that answers may be one whose data were
 * restored from a backup, which has nothing to say to a version of the future.
 */
const RESUME_WITHIN_MS = 30_000;
const STALE_AFTER_MS = RESUME_WITHIN_MS + WATCH_LIMIT_MS;
/** `Retry-After` is the server's wish; nobody is blind for longer because of it. */
const LONGEST_PAUSE_MS = 30_000;

/**
 * List and watch of one kind in one place, kept as projections.
 *
 *   list → watching → (ended at its time)                     → watching from the last resource version
 *                   → (broken, error, no end)                 → watching from there, or list, when it has heard nothing for long
 *                   → (410 Gone, what is no event of a watch) → list
 *
 * Semantics of client-go's reflector: every way out but an end at its time leads through the same jittered backoff, and it goes on for ever; a
 * new list is compared by uid, so that what went away during a gap is reported as gone. A change is handed on only after it is in the store,
 * one at a time.
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
  #pageSize = PAGE_SIZE;
  #heardAtMs: number;
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
    this.#heardAtMs = this.#nowMs();
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
    const freshnessMs = this.freshnessMs();
    const isStale = freshnessMs > STALE_AFTER_MS;
    return this.#problem ?? (isStale ? `the API server has said nothing for ${Math.round(freshnessMs / 1000)} s` : undefined);
  }

  /** How long ago the store was last known to follow the server: by a list, an event, a bookmark, or the end of a watch at its time. */
  freshnessMs(): number {
    return this.#nowMs() - this.#heardAtMs;
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
        if (this.freshnessMs() > RESUME_WITHIN_MS) this.#resourceVersion = undefined;
        const resourceVersion = this.#resourceVersion ?? (await this.#list());
        this.#synced.resolve();
        // A quiet kind may end many watches without a line: only one that ends at once is a reason to wait, for waiting is not seeing.
        if (!(await this.#watch(resourceVersion))) await this.#wait(this.#backoff.nextMs(), signal);
      } catch (error) {
        if (signal.aborted) return;
        await this.#wait(this.#failed(error), signal);
      }
    }
  }

  /** Returns after how long to go on. */
  #failed(error: unknown): number {
    this.#problem = errorText(error);
    this.#log.warn("watch.interrupted", { path: this.#path, problem: this.#problem });
    if (!isKubeApiError(error)) return this.#backoff.nextMs();
    if (error.isGone() || error.reason === UNREADABLE) this.#resourceVersion = undefined;
    if (isForbidden(error) || isNotFound(error)) this.#refused.resolve();
    return Math.max(this.#backoff.nextMs(), Math.min(error.retryAfterMs ?? 0, LONGEST_PAUSE_MS));
  }

  async #list(): Promise<string> {
    this.#problem ??= "a new list has not come";
    const { views, resourceVersion } = await this.#pages();
    for (const [uid, last] of this.#store) if (!views.has(uid)) this.#remove(uid, last);
    let handed = 0;
    for (const view of views.values()) {
      this.#put(view);
      handed += 1;
      // Probes are answered and leases renewed while a hundred thousand are handed on.
      if (handed % PAGE_SIZE === 0) await setImmediate();
      this.#stop.signal.throwIfAborted();
    }
    this.#heard();
    this.#problem = undefined;
    this.#resourceVersion = resourceVersion;
    return resourceVersion;
  }

  /** Nothing of a list counts before its last page: only then is it known what is not there. */
  async #pages(): Promise<{ readonly views: ReadonlyMap<string, View>; readonly resourceVersion: string }> {
    const views = new Map<string, View>();
    let token = "";
    let resourceVersion: string;
    do {
      const page = await this.#within(PAGE_LIMIT_MS, (signal) => this.#page(token, signal));
      for (const object of page.items) {
        const view = this.#project(object);
        views.set(view.uid, view);
      }
      ({ resourceVersion, token } = page);
    } while (token !== "");
    this.#pageSize = PAGE_SIZE;
    return { views, resourceVersion };
  }

  async #page(token: string, signal: AbortSignal): Promise<ReturnType<typeof readPage>> {
    const query = { ...this.#selector, limit: String(this.#pageSize), ...(token === "" ? {} : { continue: token }) };
    try {
      return readPage(await this.#client.json<unknown>({ method: "GET", path: this.#path, query, signal }));
    } catch (error) {
      // The snapshot that a token names is kept for some minutes only: a list that is too slow for that is asked for in larger pages.
      const isTooSlow = token !== "" && isKubeApiError(error) && error.isGone();
      if (isTooSlow) this.#pageSize = Math.min(2 * this.#pageSize, LARGEST_PAGE_SIZE);
      throw error;
    }
  }

  /** True when it ended cleanly and after some time, as watches do. */
  async #watch(resourceVersion: string): Promise<boolean> {
    const query = {
      ...this.#selector,
      watch: "true",
      allowWatchBookmarks: "true",
      timeoutSeconds: String(WATCH_SECONDS),
      resourceVersion,
    };
    return this.#within(WATCH_LIMIT_MS, async (signal) => {
      const askedAtMs = this.#nowMs();
      const hasLasted = (): boolean => this.#nowMs() - askedAtMs >= SHORT_LIVED_MS;
      const body = await this.#client.stream({ method: "GET", path: this.#path, query, signal });
      this.#problem = undefined;
      try {
        for await (const line of lines(body)) {
          this.#apply(readEvent(line));
          this.#heard();
        }
      } finally {
        if (hasLasted()) this.#backoff.reset();
      }
      if (hasLasted()) this.#heard();
      return hasLasted();
    });
  }

  /** Whatever hangs is given up: a connection that nobody closed says nothing for ever. */
  async #within<Result>(limitMs: number, work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const limit = new AbortController();
    const expire = (): void => limit.abort(new Error(`the API server did not end its answer within ${limitMs / 1000} s`));
    const timer = setTimeout(expire, limitMs);
    try {
      return await work(AbortSignal.any([this.#stop.signal, limit.signal]));
    } finally {
      clearTimeout(timer);
    }
  }

  #apply(event: WatchEvent): void {
    switch (event.type) {
      case "ERROR": {
        const { code: status, reason, message } = event.object;
        throw new KubeApiError({ status, reason, message: `watch ${this.#path}: ${message}` });
      }
      case "DELETED":
        this.#remove(event.object.metadata.uid, this.#project(event.object));
        break;
      case "ADDED":
      case "MODIFIED":
        this.#put(this.#project(event.object));
        break;
      case "BOOKMARK":
        break;
      default:
        assertNever(event);
    }
    this.#resourceVersion = later(this.#resourceVersion, event.object.metadata.resourceVersion);
  }

  #heard(): void {
    this.#heardAtMs = this.#nowMs();
  }

  #put(view: View): void {
    this.#store.set(view.uid, view);
    this.#onChange({ kind: "present", view });
  }

  /** One that is not known was told of as gone before. */
  #remove(uid: string, last: View): void {
    if (this.#store.delete(uid)) this.#onChange({ kind: "gone", last });
  }
}

const DECIMAL = /^\d+$/;

/** A watch never goes back, whatever a bookmark says. Versions are numbers (KEP-5504); what is none is taken as it comes. */
function later(known: string | undefined, said: string | undefined): string | undefined {
  if (known === undefined || said === undefined) return said ?? known;
  const isOlder = DECIMAL.test(known) && DECIMAL.test(said) && BigInt(said) < BigInt(known);
  return isOlder ? known : said;
}
