import { connect, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, it } from "vitest";
import { REQUEST_OPS, requestSubject } from "../contract/requests.ts";
import { ask } from "./request-client.ts";
import { NatsTestServer } from "./testing/nats-server.ts";

/** As docs/operations.md writes it: one who may look and not touch. */
const USERS = `
accounts { A { jetstream: enabled, users: [
  { user: monitor, password: p }
  { user: viewer, password: p, permissions: {
      publish: ["millrace.request.get", "millrace.request.list", "millrace.request.logs", "millrace.request.queues"]
      subscribe: "_INBOX.>" } }
] } }`;

let server: NatsTestServer;
let viewer: NatsConnection;
let monitor: NatsConnection;
const asked: string[] = [];
beforeAll(async () => {
  server = await NatsTestServer.start({ config: USERS });
  monitor = await connect({ servers: server.url, user: "monitor", pass: "p" });
  viewer = await connect({ servers: server.url, user: "viewer", pass: "p" });
  for (const op of REQUEST_OPS) {
    monitor.subscribe(requestSubject(op), {
      callback: (_error, message) => {
        asked.push(op);
        message.respond(JSON.stringify({ ok: true, jobs: [], truncated: false, queues: [] }));
      },
    });
  }
  await monitor.flush();
});
afterAll(async () => {
  await Promise.all([viewer.close(), monitor.close()]);
  await server[Symbol.asyncDispose]();
});

it("NATS permissions decide who may ask what: a refused request reaches no monitor and is told at once", async () => {
  expect(await ask(viewer, "list", {})).toEqual({ ok: true, jobs: [], truncated: false });
  await expect(ask(viewer, "cancel", { id: "a" })).rejects.toMatchObject({ code: "NOT_PERMITTED" });
  await expect(ask(viewer, "pause", { queue: "default" })).rejects.toMatchObject({ code: "NOT_PERMITTED" });
  expect(await ask(viewer, "queues", {})).toEqual({ ok: true, queues: [] });
  expect(asked).toEqual(["list", "queues"]);
});
