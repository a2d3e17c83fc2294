import { z } from "zod";
import type { KubeClient } from "./client.ts";
import { isKubeApiError, isNotFound } from "./errors.ts";

/** `coordination.k8s.io/v1` Lease, as far as it is read; whatever else it holds (labels, a person's annotations) is written back. */
const lease = z.looseObject({
  metadata: z.looseObject({ name: z.string(), uid: z.string().optional(), resourceVersion: z.string().optional() }),
  spec: z
    .looseObject({
      holderIdentity: z.string().nullish(),
      leaseDurationSeconds: z.int().nullish(),
      leaseTransitions: z.int().nullish(),
      acquireTime: z.string().nullish(),
      renewTime: z.string().nullish(),
    })
    .default({}),
});

export type Lease = z.output<typeof lease>;

/** One Lease. A write is a compare-and-swap: on the resource version and the uid that were read, or that there is none. */
export class LeasesApi {
  readonly #client: Pick<KubeClient, "json">;
  readonly #namespace: string;
  readonly #name: string;

  constructor(options: { readonly client: Pick<KubeClient, "json">; readonly namespace: string; readonly name: string }) {
    this.#client = options.client;
    this.#namespace = options.namespace;
    this.#name = options.name;
  }

  /** A quorum read: without a resource version the server does not answer from its watch cache as it was. */
  async get(signal: AbortSignal): Promise<Lease | undefined> {
    try {
      return lease.parse(await this.#client.json<unknown>({ method: "GET", path: `${this.#path}/${this.#name}`, signal }));
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Undefined when the Lease is no longer the one that was read. */
  async write(read: Lease | undefined, spec: Lease["spec"], signal: AbortSignal): Promise<Lease | undefined> {
    const request =
      read === undefined
        ? { method: "POST" as const, path: this.#path, body: this.#fresh(spec) }
        : { method: "PUT" as const, path: `${this.#path}/${this.#name}`, body: { ...read, spec: { ...read.spec, ...spec } } };
    try {
      return lease.parse(await this.#client.json<unknown>({ ...request, signal }));
    } catch (error) {
      if (isKubeApiError(error) && (error.status === 409 || (error.status === 404 && read !== undefined))) return undefined;
      throw error;
    }
  }

  get #path(): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${this.#namespace}/leases`;
  }

  #fresh(spec: Lease["spec"]): unknown {
    const metadata = { namespace: this.#namespace, name: this.#name, labels: { "app.kubernetes.io/managed-by": "millrace" } };
    return { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata, spec };
  }
}
