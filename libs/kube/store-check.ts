import { setImmediate } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { ListPage } from "./list-pages.ts";
import { isOlderVersion } from "./resource-version.ts";
import type { KubeObject } from "./watch-wire.ts";

/** `missed`: the watch was not told of something. `restored`: the server's data are older than what it has told already. */
export type StoreFault = "missed" | "restored";

interface StoreCheckOptions<View> {
  readonly store: ReadonlyMap<string, View>;
  /** The version that the store has reached, from which the watch goes on. */
  readonly resourceVersion: string;
  readonly project: (object: KubeObject) => View;
}

/**
 * Whether a store that follows a watch is what the server has.
 *
 *   listing → listed → passed, when the watch has told everything that happened before the list
 *
 * The list is only compared, and the watch goes on beside it: to begin at the list would leave out what happened in between, such as the last
 * status of a pod that went. So a difference says nothing by itself, for its event may be on its way. What differs, and of which a watch that
 * went on from before the list to after it has not said a word, was missed.
 */
export class StoreCheck<View extends { readonly uid: string }> {
  readonly #options: StoreCheckOptions<View>;
  readonly #told = new Set<string>();
  readonly #differing = new Set<string>();
  #listVersion: string | undefined;

  constructor(options: StoreCheckOptions<View>) {
    this.#options = options;
  }

  /** Compares page by page: nothing of them is kept but what differs. */
  async list(pages: AsyncIterable<ListPage>): Promise<void> {
    const { store, project } = this.#options;
    const unlisted = new Set(store.keys());
    let listVersion: string | undefined;
    for await (const { items, resourceVersion } of pages) {
      for (const object of items) {
        const view = project(object);
        unlisted.delete(view.uid);
        if (!isDeepStrictEqual(store.get(view.uid), view)) this.#differing.add(view.uid);
      }
      listVersion = resourceVersion;
      await setImmediate();
    }
    for (const uid of unlisted) this.#differing.add(uid);
    this.#listVersion = listVersion;
  }

  /** The watch has said something of this object. */
  told(uid: string): void {
    this.#told.add(uid);
  }

  get isListed(): boolean {
    return this.#listVersion !== undefined;
  }

  /** Events come in the order of their versions. */
  isPassedBy(resourceVersion: string | undefined): boolean {
    if (this.#listVersion === undefined || resourceVersion === undefined) return false;
    return resourceVersion === this.#listVersion || isOlderVersion(this.#listVersion, resourceVersion);
  }

  /** Once the list is passed. */
  fault(): StoreFault | undefined {
    const { resourceVersion } = this.#options;
    if (this.#listVersion !== undefined && isOlderVersion(this.#listVersion, resourceVersion)) return "restored";
    for (const uid of this.#differing) if (!this.#told.has(uid)) return "missed";
    return undefined;
  }
}
