import { writeFile } from "node:fs/promises";
import { CONFIG_KEY } from "../dispatch-config-source.ts";
import { type Asked, FakeApiServer, json, refuse } from "./fake-api-server.ts";
import { FakeLeases } from "./fake-leases.ts";

/**
 * As much of an API server as whole services need that have nothing to do: their ConfigMap, Leases, no Jobs and no pods. It can be away, and it can
 * keep somebody waiting.
 *
 *   there → away (what is followed breaks, all else is refused) → there (what is followed has expired, and is listed anew) → …
 */
export class FakeControlPlane implements AsyncDisposable {
  readonly #server: FakeApiServer;
  readonly #leases = new FakeLeases();
  readonly #config: object;
  readonly #watches = new Set<Asked["response"]>();
  readonly #held: { readonly isMeant: (asked: Asked) => boolean; readonly found: (asked: Asked) => void }[] = [];
  #version = 1;
  #isAway = false;

  private constructor(server: FakeApiServer, config: object) {
    this.#server = server;
    this.#config = config;
  }

  /** `config`: of the ConfigMap that every service reads. */
  static async start(config: object): Promise<FakeControlPlane> {
    const server = await FakeApiServer.start((asked) => plane.#answer(asked));
    const plane = new FakeControlPlane(server, config);
    return plane;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
  }

  async writeKubeconfig(path: string): Promise<void> {
    const config = {
      "current-context": "fake",
      contexts: [{ name: "fake", context: { cluster: "fake", user: "somebody" } }],
      clusters: [{ name: "fake", cluster: { server: this.#server.access.server } }],
      users: [{ name: "somebody", user: { token: "test" } }],
    };
    await writeFile(path, JSON.stringify(config));
  }

  leave(): void {
    this.#isAway = true;
    for (const watch of this.#watches) watch.destroy();
  }

  comeBack(): void {
    this.#version += 1;
    this.#isAway = false;
  }

  /** The next request that is meant, which is the test's to answer. */
  hold(isMeant: (asked: Asked) => boolean): Promise<Asked> {
    const { promise, resolve } = Promise.withResolvers<Asked>();
    this.#held.push({ isMeant, found: resolve });
    return promise;
  }

  /** What a request that was held would have been answered. */
  release(asked: Asked): void {
    this.#serve(asked);
  }

  #answer(asked: Asked): undefined {
    if (this.#isAway) return refuse(asked.response, 503, "ServiceUnavailable", "the control plane is away");
    const index = this.#held.findIndex(({ isMeant }) => isMeant(asked));
    const [held] = index < 0 ? [] : this.#held.splice(index, 1);
    if (held === undefined) this.#serve(asked);
    else held.found(asked);
  }

  #serve(asked: Asked): undefined {
    const { method, path, query, body, response } = asked;
    if (path.includes("/leases")) return void this.#leases.respond(asked);
    if (method === "POST") {
      const { metadata, ...rest } = body as { readonly metadata: object };
      return json(response, 201, { ...rest, metadata: { ...metadata, uid: "made" } });
    }
    if (query.get("watch") !== null) return this.#follow(asked);
    const items = path.endsWith("/configmaps") ? [this.#configMap()] : [];
    return json(response, 200, { metadata: { resourceVersion: String(this.#version) }, items });
  }

  #follow({ query, response }: Asked): undefined {
    if (query.get("resourceVersion") !== String(this.#version))
      return refuse(response, 410, "Expired", "too old resource version");
    this.#watches.add(response);
    response.once("close", () => this.#watches.delete(response));
    response.writeHead(200).flushHeaders();
  }

  #configMap(): object {
    return { metadata: { uid: "config", name: "config" }, data: { [CONFIG_KEY]: JSON.stringify(this.#config) } };
  }
}
