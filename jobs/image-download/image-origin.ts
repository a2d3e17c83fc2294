import type { Agent, Dispatcher } from "undici";
import { BoundedBuffer } from "../image-store/bounded-buffer.ts";
import { type ImageFormat, SIGNATURE_BYTES, sniffImage } from "../image-store/image-format.ts";
import { typeOfNoImage } from "./content-type.ts";
import { AddressRefused } from "./guarded-agent.ts";
import { parseImageUrl, shownUrl } from "./image-url.ts";
import { requestHeaders } from "./request-headers.ts";
import { retryAfterMs } from "./retry-after.ts";

const MOST_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** The origin's trouble of the moment, though the code says that it is ours. */
const PASSING_4XX = new Set([408, 425]);

/** The origin did not give what it may give another time. Holds no cause: a parser's error carries bytes of the answer. */
export class OriginError extends Error {
  readonly code = "ORIGIN_FAILED";
}

export type Download =
  | { readonly kind: "image"; readonly bytes: Buffer; readonly format: ImageFormat }
  /** For good: the same message would be refused again. */
  | { readonly kind: "refused"; readonly reason: string }
  /** The origin said when to come again. */
  | { readonly kind: "later"; readonly afterMs: number; readonly reason: string };

export interface ImageRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

type Body = Dispatcher.ResponseData["body"];

/**
 * Gets images from servers that nobody vouches for (K11). It holds at most `maxBytes` of an answer, reads nothing of what the origin itself calls no
 * image, and stops at first bytes that are none.
 */
export class ImageOrigin {
  readonly #agent: Agent;
  readonly #maxBytes: number;

  constructor(options: { readonly agent: Agent; readonly maxBytes: number }) {
    this.#agent = options.agent;
    this.#maxBytes = options.maxBytes;
  }

  /** @throws OriginError; the signal's reason */
  async download({ url: text, headers, signal }: ImageRequest): Promise<Download> {
    const asked = parseImageUrl(text);
    if (asked.kind === "refused") return asked;
    let { url } = asked;
    for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
      const sent = requestHeaders(headers, url.origin === asked.url.origin ? "own-origin" : "other-origin");
      const answer = await this.#ask(url, sent, signal);
      if (answer.kind !== "redirect") return answer;
      const next = parseImageUrl(answer.location, url);
      if (next.kind === "refused") return refused(`${shownUrl(url)} redirects elsewhere: ${next.reason}`);
      url = next.url;
    }
    return refused(`${shownUrl(asked.url)} redirects more than ${MOST_REDIRECTS} times`);
  }

  async #ask(
    url: URL,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Download | { readonly kind: "redirect"; readonly location: string }> {
    try {
      const { origin, pathname, search } = url;
      const request = { origin, path: `${pathname}${search}`, method: "GET", headers, signal } as const;
      const response = await this.#agent.request(request);
      const { statusCode, body } = response;
      if (statusCode === 200) return await this.#read(url, response);
      discard(body);
      const location = response.headers["location"];
      if (REDIRECTS.has(statusCode) && typeof location === "string") return { kind: "redirect", location };
      return unsuccessful(url, response);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (error instanceof OriginError) throw error;
      if (error instanceof AddressRefused) return refused(error.message);
      throw new OriginError(`${shownUrl(url)} did not answer as it should (${codeOf(error)}); another attempt may help`);
    }
  }

  async #read(url: URL, { headers, body }: Dispatcher.ResponseData): Promise<Download> {
    const tooLarge = refused(`${shownUrl(url)} is larger than ${this.#maxBytes} bytes (MAX_IMAGE_BYTES)`);
    const type = typeOfNoImage(headers["content-type"]);
    if (type !== undefined || Number(headers["content-length"]) > this.#maxBytes) {
      discard(body);
      return type === undefined ? tooLarge : refused(`${shownUrl(url)} is ${type} and no image, by its Content-Type`);
    }
    const collected = new BoundedBuffer(this.#maxBytes);
    let format: ImageFormat | undefined;
    // Leaving the loop early ends the connection.
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (!collected.append(chunk)) return tooLarge;
      if (format !== undefined || collected.bytes.byteLength < SIGNATURE_BYTES) continue;
      format = sniffImage(collected.bytes);
      if (format === undefined) return noImage(url);
    }
    return format === undefined ? noImage(url) : { kind: "image", bytes: collected.bytes, format };
  }
}

function unsuccessful(url: URL, { statusCode, headers }: Dispatcher.ResponseData): Download {
  const answered = `${shownUrl(url)} answered ${statusCode}`;
  if (statusCode === 429 || statusCode === 503) {
    const afterMs = retryAfterMs(headers["retry-after"], Date.now());
    if (afterMs !== undefined) return { kind: "later", afterMs, reason: answered };
  }
  if (statusCode >= 500 || statusCode === 429 || PASSING_4XX.has(statusCode)) throw new OriginError(answered);
  return refused(answered);
}

function refused(reason: string): Download & { readonly kind: "refused" } {
  return { kind: "refused", reason };
}

function noImage(url: URL): Download {
  return refused(`${shownUrl(url)} is no JPEG, PNG, GIF or WEBP, by its first bytes`);
}

/** What is not read must not keep the connection, and its end is nobody's error. */
function discard(body: Body): void {
  body.on("error", () => {});
  body.destroy();
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown";
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}
