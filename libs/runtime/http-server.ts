import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { errorText } from "../contract/errors.ts";
import type { Health } from "./health.ts";
import type { Service } from "./lifecycle.ts";

/** What `/metrics` says. When it rejects, the answer is 503 with the reason. */
export interface MetricsPage {
  readonly contentType: string;
  text(): Promise<string>;
}

/**
 * `/healthz`, `/readyz` and `/metrics`; with `?verbose` the first two name what holds as well. It is started first and stopped last, so that it tells the truth while the service connects and
 * while it drains. Starting it twice is harmless.
 */
export class HttpServer implements Service {
  readonly name = "http-server";
  readonly #port: number;
  readonly #health: Health;
  readonly #metrics: MetricsPage;
  readonly #server = createServer((request, response) => {
    // A kept-alive probe connection would hold `close` until the client lets go.
    response.setHeader("connection", "close");
    this.#answer(request.url ?? "/", response).catch((error: unknown) => reply(response, 503, errorText(error)));
  });

  constructor(options: { readonly port: number; readonly health: Health; readonly metrics: MetricsPage }) {
    this.#port = options.port;
    this.#health = options.health;
    this.#metrics = options.metrics;
  }

  /** The port that was bound, for `port: 0`. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async start(): Promise<void> {
    if (this.#server.listening) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject).listen(this.#port, () => resolve());
    await promise;
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    // A connection on which nothing was asked (a TCP probe, a browser's spare one) counts as active and would hold the stop for a minute.
    this.#server.closeAllConnections();
    await promise;
  }

  async #answer(url: string, response: ServerResponse): Promise<void> {
    const [path, query] = url.split("?");
    const isVerbose = query === "verbose";
    const health = this.#health;
    switch (path) {
      case "/healthz":
        return verdict(response, health.liveProblems(), isVerbose ? health.liveHolding() : []);
      case "/readyz":
        return verdict(response, health.readyProblems(), [...(isVerbose ? health.readyHolding() : []), ...health.notes()]);
      case "/metrics":
        return this.#metricsPage(response);
      default:
        return reply(response, 404, "not found");
    }
  }

  async #metricsPage(response: ServerResponse): Promise<void> {
    const text = await this.#metrics.text();
    response.setHeader("content-type", this.#metrics.contentType);
    reply(response, 200, text);
  }
}

function verdict(response: ServerResponse, problems: readonly string[], notes: readonly string[] = []): void {
  const isWell = problems.length === 0;
  reply(response, isWell ? 200 : 503, [...(isWell ? ["ok"] : problems), ...notes].join("\n"));
}

function reply(response: ServerResponse, status: number, body: string): void {
  response.statusCode = status;
  response.end(body.endsWith("\n") ? body : `${body}\n`);
}
