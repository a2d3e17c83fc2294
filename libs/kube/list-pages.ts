import type { KubeClient } from "./client.ts";
import { isKubeApiError } from "./errors.ts";
import { withinLimit } from "./time-limit.ts";
import { type KubeObject, readPage } from "./watch-wire.ts";

const PAGE_SIZE = 500;
const LARGEST_PAGE_SIZE = 4_000;
/** The API server gives up a request after 60 s. */
const PAGE_LIMIT_MS = 70_000;

export interface ListPage {
  readonly items: readonly KubeObject[];
  /** Of the snapshot, the same on each page. */
  readonly resourceVersion: string;
}

/** Lists of one kind in one place, each a snapshot that is read in pages. */
export class ListPages {
  readonly #client: Pick<KubeClient, "json">;
  readonly #path: string;
  readonly #selector: Readonly<Record<string, string>>;
  #pageSize = PAGE_SIZE;

  constructor(options: {
    readonly client: Pick<KubeClient, "json">;
    readonly path: string;
    readonly selector: Readonly<Record<string, string>>;
  }) {
    this.#client = options.client;
    this.#path = options.path;
    this.#selector = options.selector;
  }

  /** @throws KubeApiError */
  async *read(signal: AbortSignal): AsyncGenerator<ListPage> {
    let token = "";
    do {
      const page = await withinLimit(PAGE_LIMIT_MS, signal, (limited) => this.#page(token, limited));
      yield page;
      ({ token } = page);
    } while (token !== "");
    this.#pageSize = PAGE_SIZE;
  }

  /** Nothing of a list counts before its last page: only then is it known what is not there. */
  async all<View extends { readonly uid: string }>(
    project: (object: KubeObject) => View,
    signal: AbortSignal,
  ): Promise<{ readonly views: ReadonlyMap<string, View>; readonly resourceVersion: string }> {
    const views = new Map<string, View>();
    let resourceVersion = "";
    for await (const page of this.read(signal)) {
      for (const object of page.items) {
        const view = project(object);
        views.set(view.uid, view);
      }
      ({ resourceVersion } = page);
    }
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
}
