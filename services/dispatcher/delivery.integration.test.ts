import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { jobHash, messageHash } from "../../libs/contract/names.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { openDelivery, type PulledMessage, pulledMessage } from "./delivery.ts";

const INSTANCE = "millrace.test";
const message = JSON.stringify({ template: "hello" });
const event = { specversion: "1.0", id: "Größe 1", source: "/orders", type: "t", data: { template: "hello" } };

let server: NatsTestServer;
let connection: NatsConnection;

beforeAll(async () => {
  server = await NatsTestServer.start();
  connection = await server.connect();
  const manager = await jetstreamManager(connection);
  await manager.streams.add({ name: "JOBS", subjects: ["jobs.>"] });
  await manager.consumers.add("JOBS", { durable_name: "default", ack_policy: AckPolicy.Explicit });
});
afterAll(() => server[Symbol.asyncDispose]());

/** Through a real server, because headers are what its protocol makes of them. */
async function delivered(body: string, head: Readonly<Record<string, string>> = {}): Promise<PulledMessage> {
  const given = headers();
  for (const [name, value] of Object.entries(head)) given.append(name, value);
  const client = jetstream(connection);
  await client.publish("jobs.default.hello", body, { headers: given });
  const next = await (await client.consumers.get("JOBS", "default")).next();
  if (next === null) throw new Error("nothing was delivered");
  next.ack();
  return pulledMessage(next);
}
async function open(body: string, head: Readonly<Record<string, string>> = {}) {
  const outcome = openDelivery(await delivered(body, head), INSTANCE, "default");
  if (outcome.kind === "rejected") throw new Error(JSON.stringify(outcome.rejection));
  return outcome.value;
}

describe("design §4.1: CloudEvents on the wire", () => {
  it.each([
    ["structured, with its content type", JSON.stringify(event), { "content-type": "application/cloudevents+json" }],
    ["structured, as bare JSON", JSON.stringify(event), {}],
    [
      "binary, percent-encoded",
      message,
      { "ce-specversion": "1.0", "ce-id": "Gr%C3%B6%C3%9Fe%201", "ce-source": "/orders", "ce-type": "t" },
    ],
    [
      "binary, as producers without percent-encoding write it",
      message,
      { "ce-specversion": "1.0", "ce-id": "Größe 1", "ce-source": "/orders", "ce-type": "t" },
    ],
  ])("%s: the same event is the same job", async (_how, body, head) => {
    const delivery = await open(body, head);
    expect(delivery.id).toBe("/orders Größe 1");
    expect(delivery.hash).toBe(jobHash(INSTANCE, "default", "/orders Größe 1"));
    expect(delivery.opened.value).toEqual({ template: "hello" });
  });

  it("N3: the message hash is over the bytes as they were published, envelope included", async () => {
    const body = JSON.stringify(event, null, 2);
    expect((await open(body)).messageHash).toBe(messageHash(new TextEncoder().encode(body)));
  });

  it("D11: an event that cannot be read is rejected with its path", async () => {
    expect(openDelivery(await delivered(message, { "ce-id": "1" }), INSTANCE, "default")).toMatchObject({
      kind: "rejected",
      rejection: { code: "CLOUD_EVENT_INVALID", path: "ce-specversion" },
    });
  });
});
