import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { isWorkSubject, publishWork } from "./work-message.ts";

let server: NatsTestServer;
let connection: NatsConnection;
beforeAll(async () => {
  server = await NatsTestServer.start();
  connection = await server.connect();
  const { streams } = await jetstreamManager(connection);
  await streams.add({ name: "WORK", subjects: ["image-download"] });
  await streams.add({ name: "FOREIGN", subjects: ["elsewhere"] });
});
afterAll(() => server[Symbol.asyncDispose]());

const body = new TextEncoder().encode("not even JSON");
const stored = async () => (await jetstreamManager(connection)).streams.getMessage("WORK", { last_by_subj: "image-download" });

describe("a message for a worker", () => {
  it("is stored as it was given, under the id that is printed, within the caller's trace", async () => {
    const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
    const options = { connection, subject: "image-download", body, env: { TRACEPARENT: traceparent } };
    expect(await publishWork({ ...options, id: "given" })).toBe("given");
    const message = await stored();
    expect(message?.data).toEqual(body);
    expect(message?.header.get("Nats-Msg-Id")).toBe("given");
    expect(message?.header.get("traceparent")).toBe(traceparent);
  });

  it("has a random id when none was given", async () => {
    const id = await publishWork({ connection, subject: "image-download", body, id: undefined });
    expect((await stored())?.header.get("Nats-Msg-Id")).toBe(id);
  });

  it.each(["nobody", "elsewhere"])("is refused when no worker takes it: %s", async (subject) => {
    await expect(publishWork({ connection, subject, body, id: undefined })).rejects.toMatchObject({ code: "NO_WORKER" });
  });
});

it.each([
  ["image-download", true],
  ["images.new.large", true],
  ["images.*", false],
  ["jobs.default.hello", false],
  ["work.run.x", false],
  ["", false],
])("%s is for a worker: %s", (subject, is) => {
  expect(isWorkSubject(subject)).toBe(is);
});
