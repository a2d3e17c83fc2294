import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { MSG_ID_HEADER } from "../../libs/contract/message-identity.ts";
import { jobHash } from "../../libs/contract/names.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { prepare } from "./pub.ts";

let server: NatsTestServer;
let connection: NatsConnection;

beforeAll(async () => {
  server = await NatsTestServer.start();
  connection = await server.connect();
});
/** A stream of its own for each test: the broker drops a second message with one Nats-Msg-Id. */
beforeEach(async () => {
  const { streams } = await jetstreamManager(connection);
  await streams.add({ name: "JOBS", subjects: ["jobs.>"] });
  return async () => void (await streams.delete("JOBS"));
});
afterAll(() => server[Symbol.asyncDispose]());

const event = (data: object) => ({ specversion: "1.0", id: "17", source: "/orders", type: "t", data });

it.each([
  ["the message's own", { id: "own", template: "hello" }, "given", "own", undefined],
  ["the one that was given", { template: "hello" }, "given", "given", "given"],
  ["the event's", event({ template: "hello" }), undefined, "/orders 17", undefined],
  ["the one that was given before the event's", event({ template: "hello" }), "given", "given", "given"],
])("the id that is watched is the id that will run: %s", async (_what, body, given, id, header) => {
  const published = prepare({
    connection,
    instance: "millrace.test",
    subject: "jobs.default.hello",
    body: new TextEncoder().encode(JSON.stringify(body)),
    id: given,
  });
  expect(published).toMatchObject({ id, hash: jobHash("millrace.test", "default", id) });
  await published.publish();
  const manager = await jetstreamManager(connection);
  const stored = await manager.streams.getMessage("JOBS", { last_by_subj: "jobs.default.hello" });
  expect(stored?.header?.get(MSG_ID_HEADER) || undefined).toBe(header);
});

const TRACE = `00-${"a".repeat(32)}-${"b".repeat(16)}-00`;
const BEGUN = /^00-[0-9a-f]{32}-[0-9a-f]{16}-03$/;

it.each([
  ["the caller's", { TRACEPARENT: TRACE, TRACESTATE: "a=1" }, {}, TRACE, "a=1"],
  ["begun here, when the caller has none", {}, {}, expect.stringMatching(BEGUN), ""],
  ["begun here, when the caller's is malformed", { TRACEPARENT: "x", TRACESTATE: "a=1" }, {}, expect.stringMatching(BEGUN), ""],
  ["the event's own, which no header hides", { TRACEPARENT: TRACE }, { traceparent: TRACE }, "", ""],
])("W3C: the trace of a message is %s", async (_what, env, extension, traceparent, tracestate) => {
  const body = { ...event({ template: "hello" }), ...extension };
  const bytes = new TextEncoder().encode(JSON.stringify(body));
  const target = { connection, instance: "millrace.test", subject: "jobs.default.hello", id: undefined };
  await prepare({ ...target, body: bytes, env }).publish();
  const manager = await jetstreamManager(connection);
  const stored = await manager.streams.getMessage("JOBS", { last_by_subj: "jobs.default.hello" });
  expect([stored?.header?.get("traceparent") ?? "", stored?.header?.get("tracestate") ?? ""]).toEqual([traceparent, tracestate]);
});
