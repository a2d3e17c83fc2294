import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";

/** A real HTTP server on an address of loopback; all of 127/8 is there on Linux, so two of them are two hosts. */
export class TestServer implements AsyncDisposable {
  readonly requests: { readonly path: string; readonly headers: IncomingMessage["headers"] }[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(answer: RequestListener, host = "127.0.0.1"): Promise<TestServer> {
    const server = createServer();
    const started = new TestServer(server);
    server.on("request", (request, response) => {
      started.requests.push({ path: request.url ?? "", headers: request.headers });
      answer(request, response);
    });
    server.listen(0, host);
    await once(server, "listening");
    return started;
  }

  get url(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `http://${address}:${port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }
}
