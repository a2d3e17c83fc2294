import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { pause } from "../runtime/backoff.ts";
import { silentLog } from "../runtime/log.ts";
import { type Asked, FakeApiServer, json, refuse } from "./testing/fake-api-server.ts";
import { type Change, Watch } from "./watch.ts";

interface View {
  readonly uid: string;
  readonly name: string;
}
const object = (uid: string, resourceVersion = "1", name = uid) => ({ metadata: { uid, name, resourceVersion } });
const line = (type: string, body: unknown): string => `${JSON.stringify({ type, object: body })}\n`;

/** Hands each request to the test, in order; the test answers it. */
class Requests {
  readonly #waiting: ((asked: Asked) => void)[] = [];
  readonly #come: Asked[] = [];
  readonly answer = (asked: Asked): void => {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#come.push(asked);
    else waiting(asked);
  };
  next(): Promise<Asked> {
    const come = this.#come.shift();
    return come === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(come);
  }
  async list(): Promise<Asked> {
    const asked = await this.next();
    expect(asked.query.get("watch")).toBeNull();
    return asked;
  }
  async watch(resourceVersion: string): Promise<Asked> {
    const asked = await this.next();
    expect(asked.query.get("watch")).toBe("true");
    expect(asked.query.get("resourceVersion")).toBe(resourceVersion);
    return asked;
  }
}

let requests: Requests;
let server: FakeApiServer;
let watch: Watch<View>;
let changes: string[];
let changed: PromiseWithResolvers<void>;
let clockMs: number;
let waits: number[];
beforeEach(async () => {
  clockMs = 0;
  waits = [];
  requests = new Requests();
  server = await FakeApiServer.start(requests.answer);
  changes = [];
  changed = Promise.withResolvers();
  watch = new Watch<View>({
    client: server.client,
    path: "/apis/batch/v1/namespaces/jobs/jobs",
    selector: { labelSelector: "a=b" },
    project: ({ metadata }) => ({ uid: metadata?.uid ?? "", name: metadata?.name ?? "" }),
    onChange: (change: Change<View>) => {
      const { uid, name } = change.kind === "gone" ? change.last : change.view;
      changes.push(`${change.kind} ${uid}${name === uid ? "" : `=${name}`}`);
      changed.resolve();
      changed = Promise.withResolvers();
    },
    log: silentLog,
    nowMs: () => clockMs,
    wait: (delayMs, signal) => {
      waits.push(delayMs);
      return pause(Math.min(delayMs, 5), signal);
    },
  });
});
afterEach(async () => {
  await watch.stop();
  await server[Symbol.asyncDispose]();
  vi.useRealTimers();
});

/** Waits until this many changes have been handed on. */
async function seen(count: number): Promise<string[]> {
  while (changes.length < count) await changed.promise;
  return changes;
}
async function listed(resourceVersion: string, ...uids: readonly string[]): Promise<void> {
  const { response } = await requests.list();
  json(response, 200, { metadata: { resourceVersion }, items: uids.map((uid) => object(uid)) });
}
async function following(resourceVersion: string): Promise<Asked["response"]> {
  const { response } = await requests.watch(resourceVersion);
  response.writeHead(200).flushHeaders();
  return response;
}

describe("J1: what is observed of the cluster", () => {
  it("a list of several pages is one list, and the watch begins where it ended", async () => {
    const started = watch.start();
    const first = await requests.list();
    expect(first.query.get("labelSelector")).toBe("a=b");
    json(first.response, 200, { metadata: { resourceVersion: "10", continue: "more" }, items: [object("a"), object("b")] });
    const second = await requests.list();
    expect(second.query.get("continue")).toBe("more");
    expect(changes).toEqual([]);
    json(second.response, 200, { metadata: { resourceVersion: "10", continue: "" }, items: [object("c")] });
    await started;
    expect([...watch.values()].map(({ uid }) => uid)).toEqual(["a", "b", "c"]);
    const stream = await following("10");
    stream.write(
      line("ADDED", object("d", "11")) + line("MODIFIED", object("a", "12", "new")) + line("DELETED", object("b", "13")),
    );
    expect(await seen(6)).toEqual(["present a", "present b", "present c", "present d", "present a=new", "gone b"]);
    expect(watch.get("a")?.name).toBe("new");
    expect(watch.get("b")).toBeUndefined();
  });

  it("a continue token that expired begins the list anew", async () => {
    const started = watch.start();
    json((await requests.list()).response, 200, { metadata: { resourceVersion: "10", continue: "old" }, items: [object("a")] });
    refuse((await requests.list()).response, 410, "Expired", "the token is too old");
    const again = await requests.list();
    expect(again.query.get("continue")).toBeNull();
    json(again.response, 200, { metadata: { resourceVersion: "20" }, items: [object("b")] });
    await started;
    expect(changes).toEqual(["present b"]);
  });

  it("a clean close goes on from the last version, which a bookmark may have given", async () => {
    const started = watch.start();
    await listed("10", "a");
    await started;
    const stream = await following("10");
    stream.end(line("MODIFIED", object("a", "15")) + line("BOOKMARK", { metadata: { resourceVersion: "40" } }));
    await following("40");
    expect(changes).toEqual(["present a", "present a"]);
  });

  it.each([
    ["as status", (asked: Asked) => refuse(asked.response, 410, "Expired", "too old resource version")],
    [
      "as event",
      (asked: Asked) =>
        void asked.response.end(line("ERROR", { kind: "Status", code: 410, reason: "Expired", message: "too old" })),
    ],
  ])("410 %s: a new list, and what went away in the gap is reported as gone", async (_what, answer) => {
    const started = watch.start();
    await listed("10", "a", "b", "c");
    await started;
    answer(await requests.watch("10"));
    await listed("90", "b", "d");
    expect((await seen(7)).slice(3)).toEqual(["gone a", "gone c", "present b", "present d"]);
    await following("90");
  });

  it("a quiet watch that ends at its time is followed by the next at once, however many there were before it", async () => {
    const started = watch.start();
    await listed("7");
    await started;
    for (let ended = 0; ended < 12; ended += 1) {
      const { response } = await requests.watch("7");
      clockMs += 60_000;
      response.writeHead(200).end();
    }
    await requests.watch("7");
    expect(waits).toEqual([]);
  });

  it("watches that end at once are asked for again with growing pauses", async () => {
    const started = watch.start();
    await listed("7");
    await started;
    for (let ended = 0; ended < 4; ended += 1) (await requests.watch("7")).response.writeHead(200).end();
    await requests.watch("7");
    expect(waits).toHaveLength(4);
    expect(waits[3]).toBeGreaterThan(2 * (waits[0] ?? Number.POSITIVE_INFINITY));
  });

  it("another error as event goes on from where it was, without a list", async () => {
    const started = watch.start();
    await listed("10", "a");
    await started;
    (await following("10")).end(
      line("ADDED", object("b", "11")) + line("ERROR", { kind: "Status", code: 500, reason: "InternalError", message: "etcd" }),
    );
    await following("11");
    expect(changes).toEqual(["present a", "present b"]);
  });

  it("a connection dropped in the middle of a line loses nothing and invents nothing", async () => {
    const started = watch.start();
    await listed("10");
    await started;
    const stream = await following("10");
    stream.write(line("ADDED", object("a", "11")) + line("ADDED", object("b", "12")).slice(0, 40));
    await seen(1);
    stream.socket?.destroy();
    const again = await following("11");
    again.write(line("ADDED", object("b", "12")));
    expect(await seen(2)).toEqual(["present a", "present b"]);
  });

  it("a half line before a clean end is not an event", async () => {
    const started = watch.start();
    await listed("10");
    await started;
    (await following("10")).end(line("ADDED", object("a", "11")).slice(0, 30));
    await following("10");
    expect(changes).toEqual([]);
  });

  it("chunks of one byte, in the middle of a character, make the same objects", async () => {
    const started = watch.start();
    await listed("10");
    await started;
    const stream = await following("10");
    for (const byte of Buffer.from(
      `\n${line("ADDED", object("a", "11", "größe-😀"))}${line("DELETED", object("a", "12", "größe-😀"))}`,
    )) {
      stream.write(Buffer.from([byte]));
    }
    expect(await seen(2)).toEqual(["present a=größe-😀", "gone a=größe-😀"]);
  });

  it("keeps going after 503, on the list and on the watch, and says what is wrong until it follows again", async () => {
    expect(watch.problem()).toBe("the first list has not come");
    const started = watch.start();
    refuse((await requests.list()).response, 503, "ServiceUnavailable", "starting");
    await listed("10", "a");
    await started;
    expect(watch.problem()).toBeUndefined();
    refuse((await requests.watch("10")).response, 503, "ServiceUnavailable", "restarting");
    const retried = await requests.watch("10");
    // Not connected yet: nothing may be concluded from the store (Sweeps).
    expect(watch.problem()).toContain("503");
    retried.response.write(line("ADDED", object("b", "11")));
    expect(await seen(2)).toEqual(["present a", "present b"]);
    expect(watch.problem()).toBeUndefined();
  });

  it("a connection that has gone silent is given up, though nobody closed it", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const started = watch.start();
    await listed("10", "a");
    await started;
    const stream = await following("10");
    stream.write(line("MODIFIED", object("a", "11")));
    await seen(2);
    const again = requests.watch("11");
    const closed = new Promise<void>((resolve) => stream.once("close", resolve));
    vi.advanceTimersByTime(131_000);
    await closed;
    await vi.waitFor(() => expect(watch.problem()).toContain("no byte"));
    vi.advanceTimersByTime(16_000);
    await again;
  });

  it("stop ends it at once while it lists, follows or waits, and resolves a start that still waits", async () => {
    const started = watch.start();
    await requests.list();
    await watch.stop();
    await started;
    expect(changes).toEqual([]);
  });
});
