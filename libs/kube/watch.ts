import { setImmediate } from "node:timers/promises";
import { assertNever, errorText } from "../contract/errors.ts";
import { Backoff, pause } from "../runtime/backoff.ts";
import type { Log } from "../runtime/log.ts";
import type { KubeClient } from "./client.ts";
import { isForbidden, isKubeApiError, isNotFound, KubeApiError } from "./errors.ts";
import { ListPages } from "./list-pages.ts";
import { laterVersion } from "./resource-version.ts";
import { StoreCheck, type StoreFault } from "./store-check.ts";
import { withinLimit } from "./time-limit.ts";
import { type KubeObject, lines, readEvent, UNREADABLE, type WatchEvent } from "./watch-wire.ts";

export type Change<View> = { readonly kind: "present"; readonly view: View } | { readonly kind: "gone"; readonly last: View };

/** Why a list is made; `expired`: 410 Gone, `unreadable`: something else than a watch answered, `silent`: nothing was heard for long. */
export type ListReason = "first" | "expired" | "unreadable" | "silent" | StoreFault;

/** Of what a list has brought so many are handed on in one turn of the event loop. */
const HANDED_AT_ONCE = 500;
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
/** A watch that goes on for ever is believed for so long: what it was not told of, nothing else would find. */
const CHECK_AFTER_MS = 600_000;
const CHECK_AGAIN_MS = 60_000;
const CHECK_JITTER = 0.1;
/** `Retry-After` is the server's wish; nobody is blind for longer because of it. */
const LONGEST_PAUSE_MS = 30_000;

/**
 * List and watch of one kind in one place, kept as projections.
 *
 *   list → watching → (ended at its time)                     → watching from the last resource version
 *                   → (broken, error, no end)                 → watching from there, or list, when it has heard nothing for long
 *                   → (410 Gone, what is no event of a watch) → list
 *                   → (a check found that it is not followed) → list
 *
 * Semantics of client-go's reflector: every way out but an end at its time leads through the same jittered backoff, and it goes on for ever; a
 * new list is compared by uid, so that what went away during a gap is reported as gone. A change is handed on only after it is in the store,
 * one at a time.
 */
export class Watch<View extends { readonly uid: string }> {
  readonly #client: KubeClient;
  readonly #path: string;
  readonly #selector: Readonly<Record<string, string>>;
  readonly #lists: ListPages;
  readonly #project: (object: KubeObject) => View;
  readonly #onChange: (change: Change<View>) => void;
  readonly #onListed: () => void;
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #wait: (delayMs: number, signal: AbortSignal) => Promise<void>;
  readonly #stop = new AbortController();
  readonly #store = new Map<string, View>();
  readonly #backoff = new Backoff({ initialMs: 200, maxMs: 15_000 });
  readonly #checkAfterMs: number;
  /** From which a watch goes on, once there was a list. */
  #resourceVersion = "";
  #mustList: ListReason | undefined = "first";
  #check: { readonly store: StoreCheck<View>; readonly end: AbortController } | undefined;
  #checkAtMs = Number.POSITIVE_INFINITY;
  #heardAtMs: number;
  #running: Promise<void> | undefined;
  #checking: Promise<void> = Promise.resolve();
  #problem: string | undefined = "the first list has not come";
  readonly #synced = Promise.withResolvers<void>();
  readonly #refused = Promise.withResolvers<void>();

  constructor(options: {
    readonly client: KubeClient;
    readonly path: string;
    readonly selector: Readonly<Record<string, string>>;
    readonly project: (object: KubeObject) => View;
    readonly onChange: (change: Change<View>) => void;
    /** After each complete list: whatever happened while nobody followed has been handed on. */
    readonly onListed?: () => void;
    readonly log: Log;
    /** After how long the store is compared with a list, though the watch has not failed. @default 10 min */
    readonly checkAfterMs?: number;
    readonly nowMs?: () => number;
    readonly wait?: (delayMs: number, signal: AbortSignal) => Promise<void>;
  }) {
    this.#client = options.client;
    this.#path = options.path;
    this.#selector = options.selector;
    this.#project = options.project;
    this.#onChange = options.onChange;
    this.#onListed = options.onListed ?? (() => {});
    this.#checkAfterMs = options.checkAfterMs ?? CHECK_AFTER_MS;
    this.#lists = new ListPages(options);
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
    await Promise.all([this.#running, this.#checking]);
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
        if (this.freshnessMs() > RESUME_WITHIN_MS) this.#mustList ??= "silent";
        if (this.#mustList !== undefined) await this.#list(this.#mustList);
        this.#synced.resolve();
        // A quiet kind may end many watches without a line: only one that ends at once is a reason to wait, for waiting is not seeing.
        if (!(await this.#watch())) await this.#wait(this.#backoff.nextMs(), signal);
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
    if (error.isGone()) this.#mustList ??= "expired";
    if (error.reason === UNREADABLE) this.#mustList ??= "unreadable";
    if (isForbidden(error) || isNotFound(error)) this.#refused.resolve();
    return Math.max(this.#backoff.nextMs(), Math.min(error.retryAfterMs ?? 0, LONGEST_PAUSE_MS));
  }

  async #list(reason: ListReason): Promise<void> {
    this.#problem ??= "a new list has not come";
    this.#endCheck();
    const { views, resourceVersion } = await this.#lists.all(this.#project, this.#stop.signal);
    for (const [uid, last] of this.#store) if (!views.has(uid)) this.#remove(uid, last);
    let handed = 0;
    for (const view of views.values()) {
      this.#put(view);
      handed += 1;
      // Probes are answered and leases renewed while a hundred thousand are handed on.
      if (handed % HANDED_AT_ONCE === 0) await setImmediate();
      this.#stop.signal.throwIfAborted();
    }
    this.#heard();
    this.#problem = undefined;
    this.#mustList = undefined;
    this.#resourceVersion = resourceVersion;
    this.#checkLater();
    this.#log.info("watch.listed", { path: this.#path, reason, objects: views.size });
    this.#onListed();
  }

  /** True when it ended cleanly and after some time, as watches do. */
  async #watch(): Promise<boolean> {
    const query = {
      ...this.#selector,
      watch: "true",
      allowWatchBookmarks: "true",
      timeoutSeconds: String(WATCH_SECONDS),
      resourceVersion: this.#resourceVersion,
    };
    return withinLimit(WATCH_LIMIT_MS, this.#stop.signal, async (signal) => {
      const askedAtMs = this.#nowMs();
      const hasLasted = (): boolean => this.#nowMs() - askedAtMs >= SHORT_LIVED_MS;
      const body = await this.#client.stream({ method: "GET", path: this.#path, query, signal });
      this.#problem = undefined;
      this.#beginCheck();
      const beganAfterList = this.#check?.store.isListed === true;
      try {
        for await (const line of lines(body)) {
          this.#apply(readEvent(line));
          this.#heard();
          if (this.#check?.store.isPassedBy(this.#resourceVersion) === true) this.#concludeCheck();
          if (this.#mustList !== undefined) break;
        }
      } finally {
        if (hasLasted()) this.#backoff.reset();
      }
      if (hasLasted()) this.#heard();
      // A quiet one says no version: that it has told everything is known when all its time has passed.
      if (hasLasted() && beganAfterList) this.#concludeCheck();
      return hasLasted();
    });
  }

  #apply(event: WatchEvent): void {
    switch (event.type) {
      case "ERROR": {
        const { code: status, reason, message } = event.object;
        throw new KubeApiError({ status, reason, message: `watch ${this.#path}: ${message}` });
      }
      case "DELETED":
        this.#remove(event.object.metadata.uid, this.#project(event.object));
        this.#check?.store.told(event.object.metadata.uid);
        break;
      case "ADDED":
      case "MODIFIED":
        this.#put(this.#project(event.object));
        this.#check?.store.told(event.object.metadata.uid);
        break;
      case "BOOKMARK":
        break;
      default:
        assertNever(event);
    }
    this.#resourceVersion = laterVersion(this.#resourceVersion, event.object.metadata.resourceVersion);
  }

  /** Beside the watch, so that nothing is seen late or left out because of it. A list that fails is made again beside a later watch. */
  #beginCheck(): void {
    if (this.#check !== undefined || this.#nowMs() < this.#checkAtMs) return;
    this.#checkAtMs = this.#nowMs() + CHECK_AGAIN_MS;
    const store = new StoreCheck({ store: this.#store, resourceVersion: this.#resourceVersion, project: this.#project });
    const end = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, end.signal]);
    this.#check = { store, end };
    this.#checking = store.list(this.#lists.read(signal)).catch((error: unknown) => {
      if (signal.aborted) return;
      this.#endCheck();
      this.#log.warn("watch.check-unanswered", { path: this.#path, problem: errorText(error) });
    });
  }

  #concludeCheck(): void {
    const fault = this.#check?.store.fault();
    this.#endCheck();
    this.#checkLater();
    this.#mustList = fault;
    if (fault === undefined) this.#log.debug("watch.checked", { path: this.#path });
    else this.#log.warn("watch.astray", { path: this.#path, reason: fault });
  }

  #endCheck(): void {
    this.#check?.end.abort();
    this.#check = undefined;
  }

  /** Not all watches at once. */
  #checkLater(): void {
    this.#checkAtMs = this.#nowMs() + this.#checkAfterMs * (1 - CHECK_JITTER * Math.random());
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
