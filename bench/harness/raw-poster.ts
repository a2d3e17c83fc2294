import { Pool } from "undici";
import type { KubeAccess } from "../../libs/kube/access.ts";
import { jobsPath } from "../../libs/kube/jobs-api.ts";

const HEADERS = { accept: "application/json", "content-type": "application/json" };
/** An API server takes this much at once from one client; more only queues there. */
const CONNECTIONS = 32;

/** The fastest dumb loop that there is: bytes that are ready, kept-alive connections, nothing done with the answer. */
export class RawPoster implements AsyncDisposable {
  readonly #pool: Pool;

  private constructor(pool: Pool) {
    this.#pool = pool;
  }

  static async open({ access }: { readonly access: KubeAccess }): Promise<RawPoster> {
    return new RawPoster(
      new Pool(access.server, {
        connect: await access.tls(),
        allowH2: false,
        connections: CONNECTIONS,
        keepAliveTimeout: 60_000,
      }),
    );
  }

  async post(namespace: string, body: Buffer): Promise<void> {
    await this.#send("POST", jobsPath(namespace), HEADERS, body);
  }

  /** The Job is as if its pod had succeeded: what the Job controller would write. */
  async complete(namespace: string, name: string): Promise<void> {
    const at = `${new Date().toISOString().slice(0, 19)}Z`;
    const condition = { status: "True", lastProbeTime: at, lastTransitionTime: at, reason: "CompletionsReached" };
    const conditions = ["SuccessCriteriaMet", "Complete"].map((type) => ({ ...condition, type }));
    const status = { startTime: at, completionTime: at, succeeded: 1, ready: 0, terminating: 0, conditions };
    const headers = { ...HEADERS, "content-type": "application/merge-patch+json" };
    await this.#send("PATCH", `${jobsPath(namespace)}/${name}/status`, headers, Buffer.from(JSON.stringify({ status })));
  }

  /** All Jobs of a namespace, at once and without their pods' controller. */
  async clear(namespace: string): Promise<void> {
    const options = { kind: "DeleteOptions", apiVersion: "v1", propagationPolicy: "Background" };
    await this.#send("DELETE", jobsPath(namespace), HEADERS, Buffer.from(JSON.stringify(options)));
  }

  /** How many Jobs the API server has there. */
  async count(namespace: string): Promise<number> {
    const list = (await this.#send("GET", `${jobsPath(namespace)}?limit=1`, HEADERS)) as {
      readonly items: readonly unknown[];
      readonly metadata: { readonly remainingItemCount?: number };
    };
    return list.items.length + (list.metadata.remainingItemCount ?? 0);
  }

  /** How many of them are settled: they have a ttl, which none has at its creation. */
  async settled(namespace: string): Promise<number> {
    const list = (await this.#send("GET", jobsPath(namespace), HEADERS)) as {
      readonly items: readonly { readonly spec: { readonly ttlSecondsAfterFinished?: number } }[];
    };
    return list.items.filter(({ spec }) => spec.ttlSecondsAfterFinished !== undefined).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.destroy();
  }

  async #send(method: "POST" | "PATCH" | "DELETE" | "GET", path: string, headers: Record<string, string>, body?: Buffer) {
    const answer = await this.#pool.request({ method, path, headers, ...(body === undefined ? {} : { body }) });
    if (answer.statusCode > 299) throw new Error(`${method} ${path}: ${answer.statusCode} ${await answer.body.text()}`);
    if (method === "GET") return answer.body.json();
    await answer.body.text();
    return undefined;
  }
}

/** `work` for each, `atOnce` at a time. */
export async function each<Item>(items: readonly Item[], atOnce: number, work: (item: Item) => Promise<void>): Promise<void> {
  const left = items.values();
  const worker = async (): Promise<void> => {
    for (const item of left) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}
