import type { NatsConnection, Subscription } from "@nats-io/transport-node";
import { errorText } from "../../libs/contract/errors.ts";
import { SIGNAL } from "../../libs/contract/streams.ts";
import type { JobsApi } from "../../libs/kube/jobs-api.ts";
import type { Service } from "../../libs/runtime/lifecycle.ts";
import type { Log } from "../../libs/runtime/log.ts";

const SETTLED_FOR_MS = 10_000;
/** A full namespace refuses many messages a second; one look serves them all. */
const LOOK_EVERY_MS = 2_000;

/**
 * D8: makes room in a namespace whose quota is used up, by deleting Jobs that were settled a while ago: they are evidence, and count.
 * Dispatchers say which one is full; they may not list or delete Jobs themselves.
 */
export class NamespaceRoom implements Service {
  readonly name = "namespace-room";
  readonly #connection: NatsConnection;
  readonly #jobs: Pick<JobsApi, "settledJobs" | "delete">;
  readonly #namespaces: readonly string[];
  readonly #selector: string;
  readonly #nowMs: () => number;
  readonly #log: Log;
  readonly #lastLookMs = new Map<string, number>();
  readonly #looking = new Set<Promise<void>>();
  #subscription: Subscription | undefined;

  constructor(options: {
    readonly connection: NatsConnection;
    readonly jobs: Pick<JobsApi, "settledJobs" | "delete">;
    /** Those that this installation works in: a signal that names another is not followed. */
    readonly namespaces: readonly string[];
    readonly selector: string;
    readonly nowMs: () => number;
    readonly log: Log;
  }) {
    this.#connection = options.connection;
    this.#jobs = options.jobs;
    this.#namespaces = options.namespaces;
    this.#selector = options.selector;
    this.#nowMs = options.nowMs;
    this.#log = options.log;
  }

  start(): Promise<void> {
    const callback = (error: Error | null, message: { readonly data: Uint8Array }): void => {
      const namespace = error === null ? new TextDecoder().decode(message.data) : "";
      if (this.#namespaces.includes(namespace)) this.#look(namespace);
    };
    this.#subscription ??= this.#connection.subscribe(SIGNAL.namespaceFull, { callback });
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
    await Promise.all(this.#looking);
  }

  #look(namespace: string): void {
    const nowMs = this.#nowMs();
    if (nowMs - (this.#lastLookMs.get(namespace) ?? Number.NEGATIVE_INFINITY) < LOOK_EVERY_MS) return;
    this.#lastLookMs.set(namespace, nowMs);
    const look = this.#makeRoom(namespace)
      .catch((error: unknown) => this.#log.warn("namespace.no-room", { namespace, problem: errorText(error) }))
      .finally(() => this.#looking.delete(look));
    this.#looking.add(look);
  }

  async #makeRoom(namespace: string): Promise<void> {
    const before = this.#nowMs() - SETTLED_FOR_MS;
    const settled = await this.#jobs.settledJobs(namespace, this.#selector);
    const old = settled.filter(({ endedAt }) => Date.parse(endedAt) < before);
    for (const { name, uid } of old) await this.#jobs.delete(namespace, name, uid);
    if (old.length > 0) this.#log.info("namespace.room-made", { namespace, deleted: old.length });
  }
}
