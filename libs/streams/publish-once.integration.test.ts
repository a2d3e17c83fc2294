import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SOURCE_HEADER } from "../contract/event.ts";
import { JetStreamBroker } from "./jetstream-broker.ts";
import { type Entry, OncePublisher } from "./publish-once.ts";
import { NatsTestServer } from "./testing/nats-server.ts";

let server: NatsTestServer;
let connection: NatsConnection;
beforeAll(async () => {
  server = await NatsTestServer.start();
  connection = await server.connect();
  await (await jetstreamManager(connection)).streams.add({ name: "EVENTS", subjects: ["events.>"], allow_direct: true });
});
afterAll(() => server[Symbol.asyncDispose]());

const entry = (subject: string, source: string): Entry => ({
  stream: "EVENTS",
  subject: `events.${subject}`,
  source,
  body: source,
});
async function publisher(over: NatsConnection): Promise<OncePublisher> {
  return new OncePublisher({ broker: await JetStreamBroker.open(over) });
}
async function sources(subject: string): Promise<string[]> {
  const { direct } = await jetstreamManager(connection);
  const found: string[] = [];
  for (let seq = 1; ; ) {
    const stored = await direct.getMessage("EVENTS", { next_by_subj: `events.${subject}`, seq });
    if (stored === null) return found;
    found.push(stored.header.get(SOURCE_HEADER));
    seq = stored.seq + 1;
  }
}

describe("S2, S3: an entry is there once for its subject and source", () => {
  it("under 20 publishers at once, on connections of their own", async () => {
    const publishers = await Promise.all(Array.from({ length: 20 }, async () => publisher(await server.connect())));
    const outcomes = await Promise.all(publishers.map((once) => once.publish(entry("race", "uid-1"))));
    expect(outcomes.filter((outcome) => outcome === "published")).toHaveLength(1);
    expect(await sources("race")).toEqual(["uid-1"]);
  });

  it("an entry of another source is added: a former life whose record expired", async () => {
    const once = await publisher(connection);
    expect(await once.publish(entry("lives", "uid-1"))).toBe("published");
    expect(await once.publish(entry("lives", "uid-2"))).toBe("published");
    expect(await once.publish(entry("lives", "uid-2"))).toBe("already");
    expect(await sources("lives")).toEqual(["uid-1", "uid-2"]);
  });

  it("20 sources at once all get theirs", async () => {
    const once = await publisher(connection);
    const names = Array.from({ length: 20 }, (_, index) => `source-${index}`);
    await Promise.all(names.map((name) => once.publish(entry("many", name))));
    expect((await sources("many")).toSorted()).toEqual(names.toSorted());
  });

  it("after the server was killed and came back, where Nats-Msg-Id would be forgotten", async () => {
    const once = await publisher(connection);
    await once.publish(entry("restart", "uid-1"));
    await server.kill();
    await server.restart();
    expect(await once.publish(entry("restart", "uid-1"))).toBe("already");
    expect(await sources("restart")).toEqual(["uid-1"]);
  });

  it("when the stream is not there it says so instead of saying that it is done", async () => {
    const once = await publisher(connection);
    await expect(once.publish({ ...entry("x", "y"), stream: "DLQ", subject: "dlq.x" })).rejects.toThrow();
  });
});
