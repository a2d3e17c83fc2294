import type { V1Namespace } from "@kubernetes/client-node";
import type { KubeClient } from "./client.ts";
import { isKubeApiError } from "./errors.ts";

/** Tells a namespace that was removed from one that may not be read: with the namespace go the rights in it, and both answer 403. */
export class NamespacesApi {
  readonly #client: Pick<KubeClient, "json">;

  constructor(options: { readonly client: Pick<KubeClient, "json"> }) {
    this.#client = options.client;
  }

  /** J5: true only when the server says 404. A 403 is never "gone"; a namespace that is being removed is still there. */
  async isGone(name: string): Promise<boolean> {
    return (await this.#state(name)) === "gone";
  }

  /** Gone, or on the way: nothing can be made in it any more. */
  async isLeaving(name: string): Promise<boolean> {
    const state = await this.#state(name);
    return state === "gone" || state === "leaving";
  }

  async #state(name: string): Promise<"there" | "leaving" | "gone" | "unknown"> {
    try {
      const { metadata } = await this.#client.json<V1Namespace>({ method: "GET", path: `/api/v1/namespaces/${name}` });
      return metadata?.deletionTimestamp === undefined ? "there" : "leaving";
    } catch (error) {
      if (isKubeApiError(error)) return error.isNotFound() ? "gone" : "unknown";
      throw error;
    }
  }
}
