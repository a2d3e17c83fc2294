import { buildConnector, Pool } from "undici";
import { errorText } from "../contract/errors.ts";
import type { KubeAccess } from "./access.ts";
import { apiStatus, KubeApiError } from "./errors.ts";

export interface KubeRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Below the server, `/apis/batch/v1/namespaces/jobs/jobs`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** `metadata`: of the object only that comes back, half of the bytes, and the rest is neither sent nor parsed. @default "whole" */
  readonly answer?: "whole" | "metadata";
  readonly signal?: AbortSignal;
}

/** How a request went. `status` 0: no answer came. `tookMs`: until the answer was read; of a stream, until it began. */
export interface KubeAnswer {
  readonly method: KubeRequest["method"];
  readonly status: number;
  readonly tookMs: number;
}

/** A server or proxy that does not know the short form (`PartialObjectMetadata`) gives the long one. */
const ACCEPT = {
  whole: "application/json",
  metadata: "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
} as const;

/** Below the API server's own 90 s. By undici's 4 s each message after a pause would wait for a TLS handshake, and a burst for one on each connection. */
const IDLE_MS = 60_000;

/** An API server under load answers late; one that answers nothing for this long is treated as away. */
const ANSWER_TIMEOUT_MS = 30_000;

/** A peer that died without a word is found out by TCP: after this long without a byte, and ten probes, one a second. */
const KEEP_ALIVE_MS = 15_000;

/**
 * A thin client on kept-alive HTTP/1.1 connections: the generated client opens a TCP and TLS connection for each request
 * (580 against 9 700 POSTs per second). Watches have a pool of their own, so that they never starve the requests.
 */
export class KubeClient {
  readonly #access: KubeAccess;
  readonly #requests: Pool;
  readonly #watches: Pool;
  readonly #onAnswer: ((answer: KubeAnswer) => void) | undefined;
  #clockOffsetMs = 0;

  constructor(options: {
    readonly access: KubeAccess;
    readonly connections?: number;
    readonly onAnswer?: (answer: KubeAnswer) => void;
  }) {
    this.#access = options.access;
    this.#onAnswer = options.onAnswer;
    // HTTP/2 would put every request behind one connection and so on one API server, and gains nothing at these sizes.
    const allowH2 = false;
    const connect = connector(options.access);
    this.#requests = new Pool(options.access.server, {
      connect,
      allowH2,
      connections: options.connections ?? 32,
      keepAliveTimeout: IDLE_MS,
      headersTimeout: ANSWER_TIMEOUT_MS,
      bodyTimeout: ANSWER_TIMEOUT_MS,
    });
    this.#watches = new Pool(options.access.server, { connect, allowH2, headersTimeout: ANSWER_TIMEOUT_MS, bodyTimeout: 0 });
  }

  /** @throws KubeApiError for anything but a 2xx */
  async json<T>(request: KubeRequest): Promise<T> {
    const { status, text, retryAfter } = await this.#timed(request, async () => {
      const { body, ...head } = await this.#send(this.#requests, request);
      const text = await body.text().catch((error: unknown) => {
        throw unanswered(request, error);
      });
      return { ...head, text };
    });
    if (status < 200 || status > 299) throw refusal(request, status, text, retryAfter);
    try {
      return JSON.parse(text) as T;
    } catch (error) {
      // Somebody between us and the API server answered, or its answer was cut: what became of the request is not known.
      throw unanswered(request, error);
    }
  }

  /** The raw body of a 2xx answer, as it comes in. */
  async stream(request: KubeRequest): Promise<AsyncIterable<Uint8Array>> {
    const { status, body, retryAfter } = await this.#timed(request, () => this.#send(this.#watches, request));
    if (status < 200 || status > 299) throw refusal(request, status, await body.text(), retryAfter);
    return body;
  }

  /** The API server's clock: times in objects are its, and ours may be minutes off. As exact as the `Date` header, to a second. */
  serverNowMs(): number {
    return Date.now() + this.#clockOffsetMs;
  }

  async close(): Promise<void> {
    await Promise.all([this.#requests.destroy(), this.#watches.destroy()]);
  }

  async #timed<Answer extends { readonly status: number }>(
    { method }: KubeRequest,
    send: () => Promise<Answer>,
  ): Promise<Answer> {
    const askedAtMs = performance.now();
    let status = 0;
    try {
      const answer = await send();
      status = answer.status;
      return answer;
    } finally {
      this.#onAnswer?.({ method, status, tookMs: performance.now() - askedAtMs });
    }
  }

  /** 401 says that nothing was done. A token that was rotated or revoked is replaced at once, by what its file says by then. */
  async #send(pool: Pool, request: KubeRequest) {
    try {
      const authorization = await this.#access.authorization();
      const answer = await this.#ask(pool, request, authorization);
      if (answer.status !== 401) return answer;
      const another = await this.#access.authorization(authorization);
      if (another === authorization) return answer;
      await answer.body.dump();
      return await this.#ask(pool, request, another);
    } catch (error) {
      throw unanswered(request, error);
    }
  }

  async #ask(pool: Pool, request: KubeRequest, authorization: string | undefined) {
    const answer = await pool.request({
      method: request.method,
      path: request.query === undefined ? request.path : `${request.path}?${new URLSearchParams(request.query)}`,
      headers: {
        accept: ACCEPT[request.answer ?? "whole"],
        ...(authorization === undefined ? {} : { authorization }),
        ...(request.body === undefined ? {} : { "content-type": contentType(request) }),
      },
      ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
    this.#setClock(answer.headers["date"]);
    return { status: answer.statusCode, body: answer.body, retryAfter: answer.headers["retry-after"] };
  }

  /** Less than the header's own exactness is no difference. */
  #setClock(date: string | string[] | undefined): void {
    const serverMs = typeof date === "string" ? Date.parse(date) : Number.NaN;
    const offsetMs = serverMs + 500 - Date.now();
    if (!Number.isNaN(offsetMs)) this.#clockOffsetMs = Math.abs(offsetMs) < 2_000 ? 0 : offsetMs;
  }
}

function contentType({ method }: KubeRequest): string {
  return method === "PATCH" ? "application/merge-patch+json" : "application/json";
}

/** Each new connection trusts, and shows, what the files say at that moment: authorities and certificates are rotated. */
function connector(access: KubeAccess): buildConnector.connector {
  return (options, callback) => {
    access.tls().then(
      (tls) =>
        buildConnector({ ...tls, allowH2: false, timeout: 10_000, keepAliveInitialDelay: KEEP_ALIVE_MS })(options, callback),
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), null),
    );
  };
}

function unanswered(request: KubeRequest, cause: unknown): KubeApiError {
  const message = `${request.method} ${request.path}: no answer from the API server (${errorText(cause)})`;
  return new KubeApiError({ status: 0, reason: "NoAnswer", message, cause });
}

function refusal(request: KubeRequest, status: number, body: string, retryAfter: string | string[] | undefined): KubeApiError {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    parsed = { message: body.slice(0, 200) };
  }
  const answer = apiStatus.safeParse(parsed);
  const { reason, message } = answer.success ? answer.data : { reason: "", message: "" };
  return new KubeApiError({
    status,
    reason,
    message: `${request.method} ${request.path}: ${status} ${reason}: ${message.slice(0, 500)}`,
    retryAfterMs: wholeSeconds(retryAfter),
  });
}

/** The API server writes `Retry-After` in seconds only; a proxy's date would hang on two clocks. */
function wholeSeconds(retryAfter: string | string[] | undefined): number | undefined {
  return typeof retryAfter === "string" && /^\d{1,9}$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined;
}
