import { z } from "zod";
import { parseStrictJson } from "./json.ts";
import type { Outcome } from "./message.ts";
import { accepted, MESSAGE_LIMITS, pathText, rejected } from "./message.ts";

/** Names and their values as a NATS client and a record's kept headers both iterate them. */
export type MessageHeaders = Iterable<readonly [name: string, values: readonly string[]]>;

/** A CloudEvents 1.0 event whose data is a job message. Attributes and extensions that Millrace does not use are allowed and ignored. */
export interface CloudEvent {
  /** `<source> <id>`: CloudEvents promises that the two together are unique for each event. */
  readonly identity: string;
  /** Unchecked, both of them. */
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
  readonly data: unknown;
}

const REQUIRED = ["specversion", "id", "source", "type"] as const;
const attribute = z.string("must be a string").min(1, "must not be empty");
const attributes = z.object({
  specversion: z.literal("1.0", 'must be "1.0"'),
  id: attribute,
  source: attribute,
  type: attribute,
  /** JSON's null means absent in the JSON event format. */
  datacontenttype: attribute.nullish(),
  traceparent: z.string().nullish().catch(undefined),
  tracestate: z.string().nullish().catch(undefined),
});
type Attributes = z.output<typeof attributes>;
const USED = new Set<string>(Object.keys(attributes.shape));

const EVENT_TYPE = /^application\/cloudevents(?<format>[^;\s]*)/i;
/** `application/json`, `text/json`, `application/…+json`, each with or without parameters. */
const JSON_TYPE = /^[^/;\s]+\/(?:[^/;\s]+\+)?json\s*(?:;|$)/i;

/**
 * The event around a job message, undefined when there is none (the NATS protocol binding of CloudEvents 1.0). Structured mode is said by the
 * content type, or by a body with `specversion`, a field that no job message has; binary mode by any required attribute among the headers, so that
 * a forgotten one is an error instead of a message that silently lost its identity.
 */
export function cloudEvent(body: Readonly<Record<string, unknown>>, headers: MessageHeaders): Outcome<CloudEvent> | undefined {
  const contentType = headerValue(headers, "content-type");
  const format = EVENT_TYPE.exec(contentType ?? "")?.groups?.["format"]?.toLowerCase();
  if (format !== undefined) {
    if (format !== "" && format !== "+json") return invalid("content-type", "only single events in JSON are read");
    return structured(body);
  }
  if (REQUIRED.some((name) => headerValue(headers, `ce-${name}`) !== undefined)) return binary(body, headers, contentType);
  return Object.hasOwn(body, "specversion") ? structured(body) : undefined;
}

function structured(body: Readonly<Record<string, unknown>>): Outcome<CloudEvent> {
  const checked = check(body, "");
  if (checked.kind === "rejected") return checked;
  const { data, data_base64: encoded } = body;
  if (encoded === undefined || encoded === null) return event(checked.value, data);
  if (data !== undefined && data !== null)
    return invalid("data_base64", "data and data_base64 are two names of one thing: give one");
  const base64 = z.base64().safeParse(encoded);
  if (!base64.success) return invalid("data_base64", "must be base64");
  const json = parseStrictJson(Buffer.from(base64.data, "base64"), MESSAGE_LIMITS.depth, "the data");
  return json.kind === "invalid" ? invalid("data_base64", json.problem) : event(checked.value, json.value);
}

function binary(
  body: Readonly<Record<string, unknown>>,
  headers: MessageHeaders,
  contentType: string | undefined,
): Outcome<CloudEvent> {
  const found = new Map<string, unknown>();
  for (const [header, values] of headers) {
    const name = /^ce-(?<name>.+)$/i.exec(header)?.groups?.["name"]?.toLowerCase() ?? "";
    if (!USED.has(name)) continue;
    // Two readers could take different ones of two values.
    const [value, ...others] = values;
    if (found.has(name) || others.length > 0) return invalid(`ce-${name}`, "is given twice");
    const decoded = decodeHeader(value ?? "");
    if (decoded === undefined) return invalid(`ce-${name}`, "is not percent-encoded UTF-8");
    found.set(name, decoded);
  }
  const checked = check({ datacontenttype: contentType, ...Object.fromEntries(found) }, "ce-");
  return checked.kind === "rejected" ? checked : event(checked.value, body);
}

function check(given: Readonly<Record<string, unknown>>, prefix: "" | "ce-"): Outcome<Attributes> {
  const parsed = attributes.safeParse(given);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const name = pathText(issue?.path ?? []);
    const absent = given[name] === undefined;
    return invalid(`${prefix}${name}`, absent ? "a CloudEvent must have it" : (issue?.message ?? "is invalid"));
  }
  const type = parsed.data.datacontenttype ?? "application/json";
  return JSON_TYPE.test(type)
    ? accepted(parsed.data)
    : invalid(`${prefix}datacontenttype`, "must be JSON, because the data is a job message");
}

function event({ source, id, traceparent, tracestate }: Attributes, data: unknown): Outcome<CloudEvent> {
  return accepted({
    identity: `${source} ${id}`,
    traceparent: traceparent ?? undefined,
    tracestate: tracestate ?? undefined,
    data,
  });
}

function invalid(path: string, reason: string) {
  return rejected("CLOUD_EVENT_INVALID", path, reason);
}

/** Names of headers are compared without case, as everywhere but in NATS: Go's HTTP tools publish `Ce-Id`. */
export function headerValue(headers: MessageHeaders, name: string): string | undefined {
  for (const [header, values] of headers) {
    if (header.toLowerCase() === name) return values[0];
  }
  return undefined;
}

/**
 * The binding's decoding: a quoted string is unquoted, then percent signs are decoded once, and what is no UTF-8 is refused. A percent sign that
 * starts no escape stays: some producers (CloudEvents' Go SDK for JetStream) write values as they are.
 */
function decodeHeader(value: string): string | undefined {
  const quoted = /^"(?<text>.*)"$/s.exec(value)?.groups?.["text"];
  const plain = quoted === undefined ? value : quoted.replace(/\\(.)/gs, "$1");
  try {
    return decodeURIComponent(plain.replace(/%(?![0-9a-f]{2})/gi, "%25"));
  } catch {
    return undefined;
  }
}
