import { describe, expect, it } from "vitest";
import type { MessageHeaders } from "./cloud-event.ts";
import { messageId, openMessage } from "./message-identity.ts";

const message = { template: "hello", params: { name: "world" } };
const envelope = { specversion: "1.0", id: "17", source: "/orders", type: "com.example.order" };
const binaryHeaders = { "ce-specversion": "1.0", "ce-id": "17", "ce-source": "/orders", "ce-type": "com.example.order" };
const source = { stream: "JOBS", seq: 3, storedAt: "99" };
const base64 = (text: string): string => Buffer.from(text).toString("base64");

type Values = Readonly<Record<string, string | readonly string[]>>;
const listed = (values: Values): MessageHeaders =>
  Object.entries(values).map(([name, value]) => [name, typeof value === "string" ? [value] : value] as const);
const open = (body: unknown, values: Values = {}) => openMessage(new TextEncoder().encode(JSON.stringify(body)), listed(values));
const opened = (body: unknown, values: Values = {}) => {
  const outcome = open(body, values);
  if (outcome.kind === "rejected") throw new Error(JSON.stringify(outcome.rejection));
  return outcome.value;
};
const rejection = (body: unknown, values: Values = {}) => {
  const outcome = open(body, values);
  return outcome.kind === "rejected" ? outcome.rejection : undefined;
};
const idOf = (body: unknown, values: Values = {}) => messageId(opened(body, values), String(values["Nats-Msg-Id"] ?? ""), source);

describe("design §4.1: CloudEvents in structured mode", () => {
  const structured = { ...envelope, time: "2026-01-31T08:00:00Z", data: message };

  it.each([
    ["by its content type", { "content-type": "application/cloudevents+json; charset=utf-8" }],
    ["by its content type in another case", { "Content-Type": "Application/CloudEvents+JSON" }],
    ["by its specversion alone", {}],
    ["by its specversion, whatever other content type a client sets", { "content-type": "application/json" }],
  ])("are known %s", (_how, values) => {
    expect(opened(structured, values)).toEqual({
      id: undefined,
      eventIdentity: "/orders 17",
      traceparent: undefined,
      value: message,
    });
  });

  it("hold the message as base64 as well", () => {
    expect(opened({ ...envelope, data_base64: base64(JSON.stringify(message)) }).value).toEqual(message);
  });

  it("may carry extensions and null for what is absent", () => {
    const event = { ...structured, partitionkey: "a", sampledrate: 7, datacontenttype: null, data_base64: null };
    expect(opened(event).value).toEqual(message);
  });

  it.each(["application/json", "application/json; charset=utf-8", "text/json", "application/vnd.example+json"])(
    "take data of type %s",
    (datacontenttype) => {
      expect(opened({ ...structured, datacontenttype }).value).toEqual(message);
    },
  );

  it.each([
    ["another specversion", { specversion: "0.3" }, "specversion"],
    ["a numeric specversion", { specversion: 1 }, "specversion"],
    ["no id", { id: undefined }, "id"],
    ["an empty source", { source: "" }, "source"],
    ["a numeric id", { id: 17 }, "id"],
    ["no type", { type: undefined }, "type"],
    ["data that is not JSON", { datacontenttype: "text/xml", data: "<a/>" }, "datacontenttype"],
    ["a type that only begins like JSON", { datacontenttype: "application/jsonlines" }, "datacontenttype"],
    ["no data", { data: undefined }, "data"],
    ["data null", { data: null }, "data"],
    ["data that is a string", { data: "hello" }, "data"],
    ["data that is a list", { data: [message] }, "data"],
    ["data twice", { data_base64: base64("{}") }, "data_base64"],
    ["data that is no base64", { data: undefined, data_base64: "{}" }, "data_base64"],
    ["base64 of what is no JSON", { data: undefined, data_base64: base64("hello") }, "data_base64"],
    ["base64 of a repeated key", { data: undefined, data_base64: base64('{"id":"a","id":"b"}') }, "data_base64"],
    ["base64 of a string", { data: undefined, data_base64: base64('"hello"') }, "data"],
  ])("with %s are refused and named", (_what, fields, path) => {
    expect(rejection({ ...structured, ...fields })).toMatchObject({ code: "CLOUD_EVENT_INVALID", path });
  });

  it("are announced, so an absent specversion is named", () => {
    const { specversion: _absent, ...rest } = structured;
    expect(rejection(rest, { "content-type": "application/cloudevents+json" })).toEqual({
      code: "CLOUD_EVENT_INVALID",
      path: "specversion",
      reason: "a CloudEvent must have it",
    });
  });

  it.each(["application/cloudevents-batch+json", "application/cloudevents+avro"])("as %s are refused", (type) => {
    expect(rejection(structured, { "content-type": type })).toMatchObject({ code: "CLOUD_EVENT_INVALID", path: "content-type" });
  });
});

describe("design §4.1: CloudEvents in binary mode", () => {
  it.each([
    ["as the binding writes them", binaryHeaders],
    ["in the case of Go's HTTP tools", { "Ce-Specversion": "1.0", "Ce-Id": "17", "Ce-Source": "/orders", "Ce-Type": "t" }],
    ["with a content type", { ...binaryHeaders, "content-type": "application/json" }],
    ["with extensions", { ...binaryHeaders, "ce-time": "2026-01-31T08:00:00Z", "ce-odd": ["%ff", "b"] }],
  ])("are known by their headers, %s", (_how, values) => {
    expect(opened(message, values)).toEqual({
      id: undefined,
      eventIdentity: "/orders 17",
      traceparent: undefined,
      value: message,
    });
  });

  it.each([
    ["Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"],
    ["%41", "A"],
    ["%2541", "%41"],
    ["100%", "100%"],
    ["a%zz", "a%zz"],
    ['"quoted \\"text\\""', 'quoted "text"'],
    ['"100%25"', "100%"],
  ])("decode the value %s once", (value, id) => {
    expect(opened(message, { ...binaryHeaders, "ce-id": value }).eventIdentity).toBe(`/orders ${id}`);
  });

  it.each([
    ["another specversion", { "ce-specversion": "0.3" }, "ce-specversion"],
    ["no specversion", { "ce-specversion": [] }, "ce-specversion"],
    ["an empty id", { "ce-id": "" }, "ce-id"],
    ["two ids", { "ce-id": ["1", "2"] }, "ce-id"],
    ["two ids in two cases", { "Ce-Id": "18" }, "ce-id"],
    ["an id that is no UTF-8", { "ce-id": "%ff" }, "ce-id"],
    ["an overlong escape", { "ce-source": "%c0%af" }, "ce-source"],
    ["data that is not JSON", { "ce-datacontenttype": "text/plain" }, "ce-datacontenttype"],
    ["another content type", { "content-type": "text/plain" }, "ce-datacontenttype"],
  ])("with %s are refused and named", (_what, values, path) => {
    expect(rejection(message, { ...binaryHeaders, ...values })).toMatchObject({ code: "CLOUD_EVENT_INVALID", path });
  });

  it.each(["ce-specversion", "ce-id", "ce-source", "ce-type"] as const)(
    "without %s are refused, not run without identity",
    (name) => {
      const { [name]: _absent, ...values } = binaryHeaders;
      expect(rejection(message, values)).toEqual({
        code: "CLOUD_EVENT_INVALID",
        path: name,
        reason: "a CloudEvent must have it",
      });
    },
  );

  it("a content type alone, or other ce- headers, make no event", () => {
    expect(opened(message, { "content-type": "text/plain", "ce-time": "x" })).toMatchObject({ eventIdentity: undefined });
  });
});

describe("design §4.1: id = body.id ?? Nats-Msg-Id ?? <ce-source> <ce-id> ?? source", () => {
  const named = { ...message, id: "own" };
  it.each([
    ["the message's own, structured", { ...envelope, data: named }, { "Nats-Msg-Id": "header" }, "own"],
    ["the message's own, binary", named, { ...binaryHeaders, "Nats-Msg-Id": "header" }, "own"],
    ["the header's", message, { ...binaryHeaders, "Nats-Msg-Id": "header" }, "header"],
    ["the event's, structured", { ...envelope, data: message }, {}, "/orders 17"],
    ["the event's, binary", message, binaryHeaders, "/orders 17"],
    ["the source", message, {}, "JOBS-3-99"],
  ])("%s", (_what, body, values, id) => {
    expect(idOf(body, values)).toEqual({ kind: "ok", value: id });
  });

  it.each([
    ["too long", "x".repeat(256)],
    ["with NUL", "%00"],
  ])("an event's identity that is %s is refused", (_what, id) => {
    expect(idOf(message, { ...binaryHeaders, "ce-id": id })).toMatchObject({
      kind: "rejected",
      rejection: { code: "ID_INVALID", path: "source" },
    });
  });

  it("the id within an event is checked like any other", () => {
    expect(rejection({ ...envelope, data: { ...message, id: "" } })).toMatchObject({ code: "ID_INVALID", path: "id" });
  });
});

describe("design §4.2: the trace of a message", () => {
  const trace = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
  const other = `00-${"c".repeat(32)}-${"d".repeat(16)}-01`;
  it.each([
    ["its header", message, { traceparent: trace }, trace],
    ["a structured event's extension", { ...envelope, traceparent: trace, data: message }, {}, trace],
    ["a binary event's extension", message, { ...binaryHeaders, "ce-traceparent": trace }, trace],
    ["the header before the extension", { ...envelope, traceparent: other, data: message }, { traceparent: trace }, trace],
    [
      "the extension, when the header is malformed",
      { ...envelope, traceparent: trace, data: message },
      { traceparent: "00-x" },
      trace,
    ],
    ["none, when both are malformed", { ...envelope, traceparent: "00-y", data: message }, { traceparent: "00-x" }, undefined],
    ["none, when the extension is no text", { ...envelope, traceparent: 7, data: message }, {}, undefined],
  ])("is %s", (_what, body, values, expected) => {
    expect(opened(body, values).traceparent).toBe(expected);
  });

  it.each([
    ["with the header", { traceparent: trace, tracestate: "a=1" }, "a=1"],
    ["with the extension, when the header has no trace", { tracestate: "a=1" }, "b=2"],
    ["none, when the header has the trace alone", { traceparent: trace }, undefined],
    ["none, when it is too long", { traceparent: trace, tracestate: `a=${"x".repeat(511)}` }, undefined],
  ])("its tracestate comes from where the traceparent is: %s", (_what, values, expected) => {
    const body = { ...envelope, traceparent: other, tracestate: "b=2", data: message };
    expect(opened(body, values).tracestate).toBe(expected);
  });
});
