import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type RequestOp, requestSubject } from "../../libs/contract/requests.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";

const BIN = join(import.meta.dirname, "../bin/millrace.js");

let server: NatsTestServer;
let connection: NatsConnection;
beforeAll(async () => {
  server = await NatsTestServer.start();
  connection = await server.connect();
});
afterAll(() => server[Symbol.asyncDispose]());

/** The command as a person runs it. */
async function millrace(...args: readonly string[]) {
  const { NATS_URL: _url, ...env } = process.env;
  const child = spawn(process.execPath, [BIN, ...args, "--server", server.url], { env, stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { stdout, stderr, code };
}

/** A monitor that always says the same; tells what it was asked. */
async function monitor(op: RequestOp, answer: object) {
  const asked: unknown[] = [];
  const subscription = connection.subscribe(requestSubject(op), {
    callback: (_error, message) => {
      asked.push(message.json());
      message.respond(JSON.stringify(answer));
    },
  });
  await connection.flush();
  return { asked, [Symbol.dispose]: () => subscription.unsubscribe() };
}

it("data is on stdout and the exit code is 0; what was typed is what the monitor is asked", async () => {
  using serving = await monitor("pause", { ok: true, queue: "default", paused: { reason: "upgrade" } });
  const ran = await millrace("queues", "pause", "default", "--for", "2h", "--reason", "upgrade");
  expect(ran).toEqual({ stdout: "default  paused until it is resumed: upgrade\n", stderr: "", code: 0 });
  expect(serving.asked).toEqual([{ queue: "default", forMs: 7_200_000, reason: "upgrade", by: expect.stringContaining("@") }]);
});

it("a time that is given as how long ago reaches the monitor as a time", async () => {
  using serving = await monitor("list", { ok: true, jobs: [], truncated: false });
  expect((await millrace("ls", "--since", "1h", "--state", "dead", "-o", "json")).code).toBe(0);
  expect(serving.asked).toEqual([{ since: expect.stringMatching(/^\d{4}-.*Z$/), state: "dead", limit: 50 }]);
});

it("a refusal is a code and a sentence on stderr, and exit code 1", async () => {
  using _serving = await monitor("get", { ok: false, code: "ID_UNKNOWN", message: "no job a" });
  expect(await millrace("get", "a")).toEqual({ stdout: "", stderr: "ID_UNKNOWN: no job a\n", code: 1 });
});

it("an answer that this version does not understand is said to be one", async () => {
  using _serving = await monitor("queues", { ok: true, queues: "many" });
  expect(await millrace("queues")).toMatchObject({ stderr: expect.stringContaining("ANSWER_INVALID"), code: 1 });
});

it("no monitor is exit code 3, wrong usage is 2", async () => {
  expect(await millrace("cancel", "a")).toMatchObject({ stderr: expect.stringContaining("MONITOR_UNREACHABLE"), code: 3 });
  expect((await millrace("ls", "--state", "sleepy")).code).toBe(2);
  expect((await millrace("queues", "pause")).code).toBe(2);
});
