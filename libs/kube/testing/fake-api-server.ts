import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { KubeAccess } from "../access.ts";
import { KubeClient } from "../client.ts";

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
  readonly response: ServerResponse;
}

/** The wire of an API server, real HTTP; what it says is the test's. */
export class FakeApiServer implements AsyncDisposable {
  readonly asked: Asked[] = [];
  readonly client: KubeClient;
  readonly access: KubeAccess;
  readonly #close: () => Promise<void>;

  private constructor(url: string, close: () => Promise<void>) {
    this.access = { server: url, tls: () => Promise.resolve({}), authorization: () => Promise.resolve("Bearer test") };
    this.client = new KubeClient({ access: this.access });
    this.#close = close;
  }

  static async start(answer: (asked: Asked) => void): Promise<FakeApiServer> {
    const server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const url = new URL(request.url ?? "/", "http://api");
      const text = Buffer.concat(chunks).toString();
      const body: unknown = text === "" ? undefined : JSON.parse(text);
      const asked = {
        method: request.method ?? "",
        path: url.pathname,
        query: url.searchParams,
        headers: request.headers,
        body,
        response,
      };
      fake.asked.push(asked);
      answer(asked);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const fake = new FakeApiServer(`http://127.0.0.1:${port}`, async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    });
    return fake;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
    await this.#close();
  }
}

export function json(response: ServerResponse, status: number, body: unknown): undefined {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

/** `metav1.Status`, as the API server answers what is not 2xx. */
export function refuse(response: ServerResponse, status: number, reason: string, message: string): undefined {
  json(response, status, { kind: "Status", apiVersion: "v1", status: "Failure", code: status, reason, message });
}
