import { describe, expect, it } from "vitest";
import { outgoing, PublishNames } from "./publisher.ts";

const of = { worker: "w", id: "m" };
const named = (names: PublishNames, subject: string, id?: string): string | undefined =>
  outgoing(subject, {}, id === undefined ? {} : { id }, names, {}).headers["Nats-Msg-Id"];

describe("the name of a publish", () => {
  const one = (names: PublishNames): (string | undefined)[] => [
    named(names, "a"),
    named(names, "b"),
    named(names, "a"),
    named(names, "a", "thumbnail"),
    named(names, "b", "thumbnail"),
    named(names, "a", "1"),
  ];

  it("is the same for every attempt that publishes the same, and never that of another subject or message", () => {
    const names = ["w.m.a#1", "w.m.b#1", "w.m.a#2", "w.m.a.thumbnail", "w.m.b.thumbnail", "w.m.a.1"];
    expect(one(new PublishNames(of))).toEqual(names);
    expect(one(new PublishNames(of))).toEqual(one(new PublishNames(of)));
    expect(new Set([...one(new PublishNames(of)), ...one(new PublishNames({ ...of, id: "n" }))]).size).toBe(12);
  });

  it("is never that of another worker, whose message may have the same id", () => {
    const others = ["v", "v2"].flatMap((worker) => ["m", "w.m"].map((id) => new PublishNames({ worker, id })));
    expect(new Set([...one(new PublishNames(of)), ...others.flatMap(one)]).size).toBe(30);
  });

  it("is not the handler's to set as a header", () => {
    const { headers } = outgoing("a", {}, { headers: { "Nats-Msg-Id": "mine", "X-From": "me" } }, new PublishNames(of), {});
    expect(headers).toEqual({ "Nats-Msg-Id": "w.m.a#1", "X-From": "me" });
  });
});

describe("what is published", () => {
  it.each<[string, unknown, Uint8Array | string]>([
    ["objects as JSON", { a: 1 }, '{"a":1}'],
    ["strings as they are", "text", "text"],
    ["bytes as they are", new Uint8Array([1, 2]), new Uint8Array([1, 2])],
    ["null as JSON", null, "null"],
  ])("%s", (_what, data, body) => {
    expect(outgoing("a", data, {}, new PublishNames(of), {}).body).toEqual(body);
  });

  it.each<[string, unknown]>([
    ["nothing", undefined],
    ["what has no JSON", 10n],
  ])("is refused: %s", (_what, data) => {
    expect(() => outgoing("a", data, {}, new PublishNames(of), {})).toThrow(expect.objectContaining({ code: "PUBLISH_FAILED" }));
  });

  it("carries the trace, unless the handler names another", () => {
    const trace = { traceparent: "00-a-b-01" };
    expect(outgoing("a", {}, {}, new PublishNames(of), trace).headers).toMatchObject(trace);
    const other = { headers: { traceparent: "other" } };
    expect(outgoing("a", {}, other, new PublishNames(of), trace).headers).toMatchObject(other.headers);
  });
});
