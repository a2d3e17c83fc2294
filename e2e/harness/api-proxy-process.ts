import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Agent, createServer, request } from "node:https";
import type { Socket } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { pause } from "../../libs/runtime/backoff.ts";
import { network } from "../../scripts/cluster/network.ts";

export const PROXY_PORT = 16_443;

/** What the proxy does to each request from now on; `none` passes everything on. */
export type ApiFault =
  | { readonly kind: "none" }
  /** The answer comes late, when everything has been done long ago. */
  | { readonly kind: "slow"; readonly ms: number }
  /** Not passed on. Of all requests, or of those that make an object. */
  | { readonly kind: "refuse"; readonly status: number; readonly creates: boolean; readonly retryAfterSeconds?: number }
  /** It is done, but instead of the answer the connection is reset. */
  | { readonly kind: "lose-creates" }
  /** 401 for each of these, as their files say them, and for no others: a service may have read its new one already. */
  | { readonly kind: "revoke-tokens"; readonly tokens: readonly string[] };

export type Order =
  | { readonly fault: ApiFault }
  /** All of them, at once. */
  | { readonly watches: "cut" }
  /** Those whose path contains this stay open, and nothing comes any more. */
  | { readonly watches: "silence"; readonly path: string };

/** One request and what its sender was told. */
export interface Exchange {
  readonly client: string;
  readonly method: string;
  readonly path: string;
  /** 0: nothing. */
  readonly status: number;
  readonly watch: boolean;
  readonly beganMs: number;
  readonly endedMs: number;
}

/** The proxy's own process, in the cluster's network. */
class ApiProxyProcess {
  readonly #agent: Agent;
  readonly #watches = new Set<{ readonly path: string; readonly answer: ServerResponse; readonly events: IncomingMessage }>();
  /** By who is at their other end: below TLS, where a connection can be reset. */
  readonly #sockets = new Map<string, Socket>();
  #revoked: ReadonlySet<string | undefined> = new Set();
  #fault: ApiFault = { kind: "none" };

  constructor(pki: string) {
    const [ca, cert, key] = ["ca.crt", "apiserver.crt", "apiserver.key"].map((name) => readFileSync(join(pki, name)));
    this.#agent = new Agent({ keepAlive: true, ...(ca === undefined ? {} : { ca }), host: "127.0.0.1", port: network.apiPort });
    const server = createServer({ ...(cert === undefined ? {} : { cert }), ...(key === undefined ? {} : { key }) });
    server.on("connection", (socket: Socket) => {
      const peer = peerOf(socket);
      this.#sockets.set(peer, socket);
      socket.on("close", () => this.#sockets.delete(peer)).on("error", () => {});
    });
    server.on("request", (incoming, answer) => this.#handle(incoming, answer));
    server.on("clientError", (_, socket) => socket.destroy());
    server.listen(PROXY_PORT, () => process.send?.("listening"));
  }

  obey(order: Order): void {
    if ("fault" in order) {
      const { fault } = order;
      this.#fault = fault;
      this.#revoked = new Set(fault.kind === "revoke-tokens" ? fault.tokens.map((token) => `Bearer ${token}`) : []);
      return;
    }
    for (const watch of this.#watches) {
      if (order.watches === "cut") this.#reset(watch.answer);
      else if (watch.path.includes(order.path)) {
        this.#watches.delete(watch);
        watch.events.unpipe(watch.answer).resume();
      }
    }
  }

  #handle(incoming: IncomingMessage, answer: ServerResponse): void {
    const { method = "", url: path = "", headers } = incoming;
    const client = incoming.socket.remoteAddress ?? "";
    const watch = path.includes("watch=true");
    const beganMs = performance.now();
    const tell = (status: number): void => {
      process.send?.({ client, method, path, status, watch, beganMs, endedMs: performance.now() } satisfies Exchange);
    };
    const refusal = this.#refusal(method, headers.authorization);
    if (refusal !== undefined) {
      incoming.resume();
      const { status, retryAfterSeconds } = refusal;
      const body = { kind: "Status", apiVersion: "v1", status: "Failure", reason: "Fault", message: "a fault", code: status };
      if (retryAfterSeconds !== undefined) answer.setHeader("retry-after", retryAfterSeconds);
      answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
      tell(status);
      return;
    }
    const fault = this.#fault;
    const upstream = request({ agent: this.#agent, method, path, headers });
    incoming.pipe(upstream);
    upstream.on("error", () => {
      tell(0);
      answer.destroy();
    });
    upstream.on("response", (response) => {
      const status = response.statusCode ?? 0;
      answer.on("close", () => upstream.destroy());
      response.on("error", () => answer.destroy());
      if (watch) {
        tell(status);
        this.#passWatch(path, response, answer, tell);
        return;
      }
      this.#pass({ response, answer, fault, create: method === "POST" }).then(
        (passed) => tell(passed ? status : 0),
        () => {
          // The API server died in the middle of its answer.
          tell(0);
          answer.destroy();
        },
      );
    });
  }

  #refusal(
    method: string,
    token: string | undefined,
  ): { readonly status: number; readonly retryAfterSeconds?: number } | undefined {
    if (this.#revoked.has(token)) return { status: 401 };
    if (this.#fault.kind !== "refuse" || (this.#fault.creates && method !== "POST")) return undefined;
    return this.#fault;
  }

  #passWatch(path: string, events: IncomingMessage, answer: ServerResponse, tell: (status: number) => void): void {
    const watch = { path, answer, events };
    this.#watches.add(watch);
    answer.on("close", () => this.#watches.delete(watch));
    events.on("data", (chunk: Buffer) => {
      if (chunk.includes('"code":410')) tell(410);
    });
    answer.writeHead(events.statusCode ?? 0, { "content-type": "application/json" });
    answer.flushHeaders();
    events.pipe(answer);
  }

  /** False when its answer got lost on the way. */
  async #pass(exchange: {
    readonly response: IncomingMessage;
    readonly answer: ServerResponse;
    readonly fault: ApiFault;
    readonly create: boolean;
  }): Promise<boolean> {
    const { response, answer, fault, create } = exchange;
    const body = await buffer(response);
    if (fault.kind === "lose-creates" && create) {
      this.#reset(answer);
      return false;
    }
    if (fault.kind === "slow") await pause(fault.ms, new AbortController().signal);
    const { date, "content-type": type } = response.headers;
    answer.writeHead(response.statusCode ?? 0, { ...(date === undefined ? {} : { date }), "content-type": type ?? "" }).end(body);
    return true;
  }

  #reset(answer: ServerResponse): void {
    // An answer that has ended has none any more.
    if (answer.socket !== null) this.#sockets.get(peerOf(answer.socket))?.resetAndDestroy();
  }
}

/** Pods have addresses of their own, and two of them may choose the same port. */
function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

if (import.meta.main) {
  const proxy = new ApiProxyProcess(process.argv[2] ?? "");
  process.on("message", (order: Order) => proxy.obey(order)).on("disconnect", () => process.exit());
}
