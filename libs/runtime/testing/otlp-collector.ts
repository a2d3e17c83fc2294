import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { gunzipSync } from "node:zlib";
import { z } from "zod";

const value = z.union([
  z.strictObject({ stringValue: z.string() }).transform(({ stringValue }) => stringValue),
  // Proto3's JSON has 64-bit integers as numbers or as text.
  z.strictObject({ intValue: z.union([z.number(), z.string()]) }).transform(({ intValue }) => Number(intValue)),
  z.strictObject({ doubleValue: z.number() }).transform(({ doubleValue }) => doubleValue),
  z.strictObject({ boolValue: z.boolean() }).transform(({ boolValue }) => boolValue),
]);
const attributes = z
  .array(z.strictObject({ key: z.string().min(1), value }))
  .transform((list) => Object.fromEntries(list.map(({ key, value }) => [key, value])));
const nanos = z.string().regex(/^\d{19}$/);

/** What a collector accepts of a span, strictly: a wrong field is an error here and would be dropped silently there. */
const span = z.object({
  traceId: z.string().regex(/^[0-9a-f]{32}$/),
  spanId: z.string().regex(/^[0-9a-f]{16}$/),
  parentSpanId: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .optional(),
  name: z.string().min(1),
  kind: z.int().min(1).max(5),
  startTimeUnixNano: nanos,
  endTimeUnixNano: nanos,
  attributes,
  events: z.array(z.object({ name: z.string(), timeUnixNano: nanos })),
  status: z.object({ code: z.int().min(0).max(2).default(0), message: z.string().optional() }),
});

const request = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes }),
      scopeSpans: z.array(z.object({ scope: z.object({ name: z.string() }), spans: z.array(span) })),
    }),
  ),
});

export type CollectedSpan = z.output<typeof span> & { readonly resource: Readonly<Record<string, unknown>> };

/** What it does with the next requests: one for each, the last one for ever. */
export type Answer =
  | { readonly kind: "takes"; readonly rejectedSpans?: number }
  | { readonly kind: "status"; readonly status: number; readonly retryAfterSeconds?: number }
  /** It reads the request and says nothing. */
  | { readonly kind: "hangs" };

/** Answers as an OpenTelemetry collector's OTLP receiver does: `POST /v1/traces`, JSON, gzip or not. */
export class OtlpCollector implements AsyncDisposable {
  readonly #server = createServer((asked, response) => {
    this.#receive(asked, response).catch((error: unknown) => {
      this.problems.push(error);
      response.writeHead(400).end();
    });
  });
  readonly spans: CollectedSpan[] = [];
  readonly headers: IncomingMessage["headers"][] = [];
  readonly problems: unknown[] = [];
  answers: Answer[] = [{ kind: "takes" }];

  static async start(): Promise<OtlpCollector> {
    const collector = new OtlpCollector();
    collector.#server.listen(0, "127.0.0.1");
    await once(collector.#server, "listening");
    return collector;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #receive(asked: IncomingMessage, response: ServerResponse): Promise<void> {
    const sent = await buffer(asked);
    this.headers.push(asked.headers);
    if (asked.method !== "POST" || asked.url !== "/v1/traces") throw new Error(`${asked.method} ${asked.url}`);
    if (asked.headers["content-type"] !== "application/json") throw new Error(`${asked.headers["content-type"]}`);
    const body = asked.headers["content-encoding"] === "gzip" ? gunzipSync(sent) : sent;
    const { resourceSpans } = request.parse(JSON.parse(body.toString()));
    const answer = this.answers.length > 1 ? this.answers.shift() : this.answers[0];
    if (answer === undefined || answer.kind === "hangs") return;
    if (answer.kind === "status") {
      const retry = answer.retryAfterSeconds === undefined ? {} : { "retry-after": String(answer.retryAfterSeconds) };
      response.writeHead(answer.status, retry).end();
      return;
    }
    for (const { resource, scopeSpans } of resourceSpans) {
      this.spans.push(...scopeSpans.flatMap(({ spans }) => spans).map((each) => ({ ...each, resource: resource.attributes })));
    }
    const partialSuccess =
      answer.rejectedSpans === undefined ? {} : { rejectedSpans: String(answer.rejectedSpans), errorMessage: "no room" };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ partialSuccess }));
  }
}
