import { z } from "zod";

const MOST_HEADERS = 64;
const LONGEST_NAME = 128;
const LONGEST_VALUE = 8_192;
const MOST_BYTES = 16_384;

/** What the connection, the length or the form of the answer depends on is ours to say: a message that says it could smuggle a second request or get a part. */
const OURS = new Set([
  "accept-encoding",
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "expect",
  "host",
  "http2-settings",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "keep-alive",
  "range",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
const OURS_BY_PREFIX = ["proxy-", "sec-"];

/** What may follow a redirect to another origin. Any other header may be a credential, whatever its name. */
const NO_SECRETS = new Set(["accept", "accept-language", "user-agent"]);

const DEFAULTS = { accept: "image/webp,image/png,image/jpeg,image/gif", "user-agent": "millrace-image-download" } as const;

/** As a message gives them. Control characters would end a header and begin another one: such a message is refused as a whole. */
export const messageHeaders = z
  .record(
    z
      .string()
      .max(LONGEST_NAME)
      .regex(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/, "is no header name"),
    z
      .string()
      .max(LONGEST_VALUE)
      .regex(/^[\t\x20-\x7e\x80-\xff]*$/, "holds characters that no header value may hold"),
  )
  .refine((headers) => Object.keys(headers).length <= MOST_HEADERS, `more than ${MOST_HEADERS} headers`)
  .refine(
    (headers) => Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length, 0) <= MOST_BYTES,
    `more than ${MOST_BYTES} bytes of headers`,
  );

/**
 * The headers to send, those of the message filtered (K11). `Cookie` and `Authorization` are what a message has headers for; they go to the URL's own
 * origin only.
 */
export function requestHeaders(
  given: Readonly<Record<string, string>>,
  to: "own-origin" | "other-origin",
): Record<string, string> {
  const sent = Object.entries(given)
    .map(([name, value]): [string, string] => [name.toLowerCase(), value])
    .filter(([name]) => !OURS.has(name) && !OURS_BY_PREFIX.some((prefix) => name.startsWith(prefix)))
    .filter(([name]) => to === "own-origin" || NO_SECRETS.has(name));
  return { ...DEFAULTS, ...Object.fromEntries(sent), "accept-encoding": "identity" };
}
