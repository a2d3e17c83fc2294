import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { REQUEST_BYTES_MAX, REQUEST_OPS, type RequestOp, requestSubject } from "../../../libs/contract/requests.ts";
import { silentLog } from "../../../libs/runtime/log.ts";
import { ask } from "../../../libs/streams/request-client.ts";
import { NatsTestServer } from "../../../libs/streams/testing/nats-server.ts";
import { RequestRefused } from "./refused.ts";
import { type RequestHandlers, RequestServer } from "./request-server.ts";

let server: NatsTestServer;
let connection: NatsConnection;
beforeAll(async () => {
  server = await NatsTestServer.start();
  connection = await server.connect();
});
afterAll(() => server[Symbol.asyncDispose]());

/** Every operation answers the same; a test replaces the one that it asks. */
function handlers(given: Partial<RequestHandlers>): RequestHandlers {
  const never = () => Promise.reject(new Error("not asked by this test"));
  const all = Object.fromEntries(REQUEST_OPS.map((op) => [op, never]));
  return { ...(all as unknown as RequestHandlers), ...given };
}

async function serve(
  given: Partial<RequestHandlers>,
  options: { readonly concurrency?: number; readonly timeoutMs?: number } = {},
) {
  const requests = new RequestServer({ connection, handlers: handlers(given), log: silentLog, ...options });
  await requests.start();
  return { requests, [Symbol.asyncDispose]: () => requests.stop() };
}

const raw = async (op: RequestOp, body: string | Uint8Array) =>
  (await connection.request(requestSubject(op), body, { timeout: 10_000 })).json<{
    ok: boolean;
    code: string;
    message: string;
  }>();

describe("what comes from outside", () => {
  it.each([
    ["no JSON", "{", "the body is not JSON: unexpected token at position 1"],
    ["a key twice", '{"id":"a","id":"b"}', 'the key "id" appears twice in one object'],
    ["a missing field", "{}", /^id: /],
    ["no body", "", /^id: /],
    ["an unknown field", '{"id":"a","force":true}', "force: unknown field"],
    ["another type", '{"id":7}', /^id: /],
    ["a queue that is a wildcard", '{"id":"a","queue":">"}', "queue: must be a queue's name"],
    ["an array", "[]", /expected object/],
    ["nesting", `{"id":${"[".repeat(9)}${"]".repeat(9)}}`, "the body is nested deeper than 4 levels"],
    ["bytes that are not UTF-8", Uint8Array.of(0xff), "the body is not valid UTF-8"],
    ["too many bytes", "x".repeat(REQUEST_BYTES_MAX + 1), /at most 16384 are allowed/],
  ])("%s is refused with its reason", async (_what, body, message) => {
    await using _serving = await serve({});
    const answer = await raw("cancel", body);
    expect(answer).toMatchObject({ ok: false, code: "REQUEST_INVALID" });
    expect(answer.message).toMatch(message);
  });

  it("a failure says that there was one, and nothing of its inside", async () => {
    await using _serving = await serve({ queues: () => Promise.reject(new Error("password is hunter2")) });
    const answer = await raw("queues", "{}");
    expect(answer.code).toBe("INTERNAL");
    expect(JSON.stringify(answer)).not.toMatch(/hunter2|\.ts/);
  });

  it("a refusal reaches the client with its code", async () => {
    await using _serving = await serve({ get: () => Promise.reject(new RequestRefused("ID_UNKNOWN", "no job a")) });
    await expect(ask(connection, "get", { id: "a" })).rejects.toMatchObject({ code: "ID_UNKNOWN", message: "no job a" });
  });

  it("defaults are filled in by the server, and unknown fields of an answer pass the client", async () => {
    let limit: number | undefined;
    await using _serving = await serve({
      list: (request) => {
        limit = request.limit;
        return Promise.resolve({ ok: true, jobs: [], truncated: false, added: "later" });
      },
    });
    expect(await ask(connection, "list", {})).toEqual({ ok: true, jobs: [], truncated: false });
    expect(limit).toBe(50);
  });

  it("nobody there is told as such", async () => {
    await expect(ask(connection, "queues", {})).rejects.toMatchObject({ code: "MONITOR_UNREACHABLE" });
  });

  it("an answer that does not fit is refused, not lost", async () => {
    const row = { queue: "q".repeat(3 * 2 ** 20), configured: true, waiting: 0, running: 0, slots: 1, retrySlots: 1, dead: 0 };
    await using _serving = await serve({ queues: () => Promise.resolve({ ok: true, queues: [row] }) });
    await expect(ask(connection, "queues", {})).rejects.toMatchObject({ code: "ANSWER_TOO_LARGE" });
  });

  it("a request that nobody waits for is not carried out", async () => {
    const asked: string[] = [];
    await using _serving = await serve({
      pause: ({ queue }) => {
        asked.push(queue);
        return Promise.resolve({ ok: true, queue, paused: {} });
      },
    });
    connection.publish(requestSubject("pause"), JSON.stringify({ queue: "unheard" }));
    await ask(connection, "pause", { queue: "heard" });
    expect(asked).toEqual(["heard"]);
  });
});

describe("the server", () => {
  /** Handlers that the test lets go on. */
  function gate() {
    const { promise: opened, resolve: open } = Promise.withResolvers<void>();
    let inWork = 0;
    let most = 0;
    let signal: AbortSignal | undefined;
    const { promise: entered, resolve: enter } = Promise.withResolvers<void>();
    const queues: RequestHandlers["queues"] = async (_request, given) => {
      signal = given;
      inWork += 1;
      most = Math.max(most, inWork);
      enter();
      await opened;
      inWork -= 1;
      return { ok: true, queues: [] };
    };
    return { queues, open, entered, most: () => most, signal: () => signal };
  }

  it("works on so many requests at once and no more", async () => {
    const { queues, open, entered, most } = gate();
    await using _serving = await serve({ queues }, { concurrency: 2 });
    const answers = Array.from({ length: 10 }, () => ask(connection, "queues", {}));
    await entered;
    await connection.flush();
    open();
    await Promise.all(answers);
    expect(most()).toBe(2);
  });

  it("tells those beyond its backlog to come again", async () => {
    const { queues, open, entered } = gate();
    await using _serving = await serve({ queues }, { concurrency: 1 });
    const answers = Array.from({ length: 300 }, () => raw("queues", "{}"));
    await entered;
    const first = await Promise.race(answers);
    expect(first).toMatchObject({ ok: false, code: "BUSY" });
    open();
    const codes = (await Promise.all(answers)).map(({ ok, code }) => (ok ? "ok" : code));
    expect(codes.filter((code) => code === "ok").length).toBeGreaterThanOrEqual(256);
  });

  it("gives up in time, and its handler is told", async () => {
    const { queues, open, signal } = gate();
    await using _serving = await serve({ queues }, { timeoutMs: 50 });
    await expect(ask(connection, "queues", {})).rejects.toMatchObject({ code: "TIMEOUT" });
    expect(signal()?.aborted).toBe(true);
    open();
  });

  it("answers what it took before it stops, and takes nothing afterwards", async () => {
    const { queues, open, entered } = gate();
    const { requests } = await serve({ queues });
    const answer = ask(connection, "queues", {});
    await entered;
    const stopped = requests.stop();
    open();
    await stopped;
    expect(await answer).toEqual({ ok: true, queues: [] });
    await expect(ask(connection, "queues", {})).rejects.toMatchObject({ code: "MONITOR_UNREACHABLE" });
  });

  it("two of them give each request to one", async () => {
    const asked: string[] = [];
    const one = (name: string): Partial<RequestHandlers> => ({
      queues: () => {
        asked.push(name);
        return Promise.resolve({ ok: true, queues: [] });
      },
    });
    await using _first = await serve(one("first"));
    await using _second = await serve(one("second"));
    for (let count = 0; count < 20; count += 1) await ask(connection, "queues", {});
    expect(asked).toHaveLength(20);
  });
});
