import { once } from "node:events";
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { silentLog } from "../runtime/log.ts";
import { type Asked, json, refuse } from "./testing/fake-api-server.ts";
import { bookmark, line, object, WatchBench } from "./testing/watch-bench.ts";
import { Watch } from "./watch.ts";
import { lines } from "./watch-wire.ts";

let bench: WatchBench;
beforeEach(async () => {
  bench = await WatchBench.start();
});
afterEach(async () => {
  await bench[Symbol.asyncDispose]();
  vi.useRealTimers();
});

describe("R10: a watch under fire", () => {
  it("a connection dropped in the middle of a line loses nothing and invents nothing", async () => {
    const stream = await bench.begun();
    stream.write(line("ADDED", object("a", "11")) + line("ADDED", object("b", "12")).slice(0, 40));
    await bench.seen(1);
    stream.socket?.destroy();
    const again = await bench.following("11");
    again.write(line("ADDED", object("b", "12")));
    expect(await bench.seen(2)).toEqual(["present a", "present b"]);
  });

  it("half a line before a clean end is no event, and no end at its time", async () => {
    const stream = await bench.begun();
    bench.clockMs += 20_000;
    stream.end(line("ADDED", object("a", "11")).slice(0, 30));
    await bench.follow("10");
    expect(bench.changes).toEqual([]);
    expect(bench.watch.freshnessMs()).toBeGreaterThan(20_000);
    expect(bench.watch.problem()).toContain("within a line");
  });

  it("wherever the network cuts, in the middle of a character too, the lines are the same", async () => {
    const bytes = Buffer.from('{"a":"größe-😀"}\n\n{"b":1}\n');
    for (let size = 1; size <= bytes.length; size += 1) {
      const chunks = ReadableStream.from(
        Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size)),
      );
      const found: string[] = [];
      for await (const each of lines(chunks)) found.push(each);
      expect(found).toEqual(['{"a":"größe-😀"}', '{"b":1}']);
    }
  });

  it("chunks of one byte make the same objects", async () => {
    const stream = await bench.begun();
    for (const byte of Buffer.from(
      `\n${line("ADDED", object("a", "11", "größe-😀"))}${line("DELETED", object("a", "12", "größe-😀"))}`,
    )) {
      stream.write(Buffer.from([byte]));
    }
    expect(await bench.seen(2)).toEqual(["present a=größe-😀", "gone a=größe-😀"]);
  });

  it("a connection that nobody closed is given up when its end is overdue, however late a word came", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const stream = await bench.begun("a");
    vi.advanceTimersByTime(59_000);
    stream.write(line("MODIFIED", object("a", "11")));
    await bench.seen(2);
    const closed = once(stream, "close");
    vi.advanceTimersByTime(12_000);
    await closed;
    await expect.poll(() => bench.watch.problem()).toContain("did not end its answer");
    vi.advanceTimersByTime(1_000);
    await bench.following("11");
  });

  it("a page of a list that does not end is given up, too", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const started = bench.watch.start();
    const { response } = await bench.list();
    response.writeHead(200).write('{"items":[');
    await setImmediate();
    const closed = once(response, "close");
    vi.advanceTimersByTime(71_000);
    await closed;
    vi.advanceTimersByTime(1_000);
    await bench.listed("10", "a");
    await started;
    expect(bench.changes).toEqual(["present a"]);
  });

  it.each([
    ["list and watch answer 410", true, (asked: Asked) => refuse(asked.response, 410, "Expired", "too old")],
    ["each watch answers 410", false, (asked: Asked) => refuse(asked.response, 410, "Expired", "too old")],
    [
      "each watch says 410",
      false,
      (asked: Asked) => void asked.response.end(line("ERROR", { code: 410, reason: "Expired", message: "too old" })),
    ],
    [
      "each watch says 410 after a bookmark",
      false,
      (asked: Asked) =>
        void asked.response.end(bookmark("11") + line("ERROR", { code: 410, reason: "Expired", message: "too old" })),
    ],
  ])("410 storm, %s: pauses grow, nothing is gone that is not, and it recovers", async (_what, lists, gone) => {
    const started = bench.watch.start();
    await bench.listed("10", "a", "b");
    await started;
    for (let round = 0; round < 20; round += 1) {
      const asked = await bench.next();
      if (asked.query.get("watch") === null && !lists) {
        json(asked.response, 200, { metadata: { resourceVersion: "10" }, items: [object("a"), object("b")] });
      } else gone(asked);
    }
    const { waits } = bench;
    expect(waits.at(-1)).toBeGreaterThan(10 * (waits[0] ?? Number.POSITIVE_INFINITY));
    expect(Math.max(...waits)).toBeLessThanOrEqual(15_000);
    expect(bench.changes.filter((change) => change.startsWith("gone"))).toEqual([]);
    expect([...bench.watch.values()].map(({ uid }) => uid)).toEqual(["a", "b"]);
    const last = await bench.next();
    if (last.query.get("watch") !== null) gone(last);
    const list = last.query.get("watch") === null ? last : await bench.list();
    json(list.response, 200, { metadata: { resourceVersion: "90" }, items: [object("b")] });
    (await bench.following("90")).write(line("ADDED", object("c", "91")));
    await expect.poll(() => bench.changes.slice(-3)).toEqual(["gone a", "present b", "present c"]);
    expect(bench.watch.problem()).toBeUndefined();
  });

  it("503 for 5 s: asked again a few times, then followed from where it was, and it says what is wrong until then", async () => {
    expect(bench.watch.problem()).toBe("the first list has not come");
    const stream = await bench.begun("a");
    expect(bench.watch.problem()).toBeUndefined();
    stream.socket?.destroy();
    const beganAtMs = bench.clockMs;
    let asked = await bench.follow("10");
    let refusals = 0;
    for (; bench.clockMs < beganAtMs + 5_000; asked = await bench.follow("10")) {
      refuse(asked.response, 503, "ServiceUnavailable", "starting");
      refusals += 1;
    }
    expect(refusals).toBeLessThan(10);
    // Not connected yet: nothing may be concluded from the store (Sweeps).
    expect(bench.watch.problem()).toContain("503");
    asked.response.write(line("ADDED", object("b", "11")));
    expect(await bench.seen(2)).toEqual(["present a", "present b"]);
    expect(bench.watch.problem()).toBeUndefined();
  });

  it.each([
    ["7", 7_000],
    ["9999", 30_000],
  ])("Retry-After %s is kept, within reason", async (seconds, pauseMs) => {
    const started = bench.watch.start();
    const { response } = await bench.list();
    response.setHeader("retry-after", seconds);
    refuse(response, 429, "TooManyRequests", "later");
    await bench.listed("10");
    await started;
    expect(bench.waits).toEqual([pauseMs]);
  });

  it("after watches that lasted the next trouble begins with a short pause again", async () => {
    const started = bench.watch.start();
    for (let round = 0; round < 8; round += 1) refuse((await bench.list()).response, 503, "ServiceUnavailable", "starting");
    await bench.listed("10");
    await started;
    const stream = await bench.following("10");
    bench.clockMs += 25_000;
    stream.write(bookmark("11"));
    await expect.poll(() => bench.watch.freshnessMs()).toBe(0);
    stream.socket?.destroy();
    await bench.follow("11");
    expect(bench.waits.at(-1)).toBeLessThanOrEqual(200);
  });

  it.each([
    ["a line that is no JSON", "hello\n"],
    ["a cut line with its end", '{"type":"ADDED","object":{"meta\n'],
    ["JSON that is no event", '{"a":1}\n'],
    ["a list", "[]\n"],
    ["null", "null\n"],
    ["an event of no kind that is known", line("RENAMED", object("a"))],
    ["a proxy's HTML", "<html>\n<body>Welcome</body>\n</html>\n"],
    ["an object without metadata", line("ADDED", { kind: "Job" })],
    ["an object without uid", line("DELETED", { metadata: { name: "a" } })],
    ["an object with an empty uid", line("ADDED", { metadata: { uid: "" } })],
    ["a bookmark without a version", line("BOOKMARK", { metadata: {} })],
    ["an event without an object", '{"type":"MODIFIED"}\n'],
  ])("garbage, %s: it counts for nothing, and the list is made anew", async (_what, text) => {
    const stream = await bench.begun("a");
    stream.write(line("ADDED", object("b", "11")) + text + line("DELETED", object("a", "12")));
    const asked = await bench.list();
    expect(bench.changes).toEqual(["present a", "present b"]);
    expect(bench.watch.problem()).toContain("cannot be read");
    json(asked.response, 200, { metadata: { resourceVersion: "20" }, items: [object("a")] });
    await bench.following("20");
    expect(bench.changes.slice(2)).toEqual(["gone b", "present a"]);
    expect(bench.waits).toHaveLength(1);
  });

  it("garbage, a line without end: read no further than a bound", async () => {
    const stream = await bench.begun("a");
    const chunk = Buffer.alloc(2 ** 20, "x");
    let written = 0;
    const closed = once(stream, "close");
    const flood = (): void => {
      if (stream.destroyed) return;
      written += chunk.length;
      stream.write(chunk, flood);
    };
    flood();
    await closed;
    expect(written).toBeLessThan(64 * 2 ** 20);
    await bench.listed("20", "a");
    await bench.following("20");
  });

  it.each([
    ["a proxy's HTML", "<html>Welcome</html>"],
    ["JSON that is no list", "{}"],
    ["an empty answer", ""],
    ["a list without a version", JSON.stringify({ metadata: { resourceVersion: "" }, items: [] })],
    ["an object without uid", JSON.stringify({ metadata: { resourceVersion: "12" }, items: [{ metadata: { name: "a" } }] })],
    ["a list without items", JSON.stringify({ metadata: { resourceVersion: "12" } })],
  ])("garbage as a list with 200, %s: nothing is gone because of it", async (_what, text) => {
    const stream = await bench.begun("a", "b");
    stream.end(line("ERROR", { code: 410, reason: "Expired", message: "too old" }));
    (await bench.list()).response.writeHead(200).end(text);
    const again = await bench.list();
    expect(bench.changes).toEqual(["present a", "present b"]);
    expect(bench.watch.problem()).toBeDefined();
    json(again.response, 200, { metadata: { resourceVersion: "20" }, items: [object("b")] });
    expect((await bench.seen(4)).slice(2)).toEqual(["gone a", "present b"]);
  });

  it("a continue token that expired in the middle begins the list anew, in larger pages, until one comes to its end", async () => {
    const started = bench.watch.start();
    const limits: (string | null)[] = [];
    for (let round = 0; round < 5; round += 1) {
      const first = await bench.list();
      expect(first.query.get("continue")).toBeNull();
      limits.push(first.query.get("limit"));
      json(first.response, 200, { metadata: { resourceVersion: "10", continue: "old" }, items: [object("a")] });
      refuse((await bench.list()).response, 410, "Expired", "the token is too old");
    }
    expect(limits).toEqual(["500", "1000", "2000", "4000", "4000"]);
    await bench.listed("20", "b");
    await started;
    expect(bench.changes).toEqual(["present b"]);
    refuse((await bench.follow("20")).response, 410, "Expired", "too old");
    expect((await bench.list()).query.get("limit")).toBe("500");
  });
});

describe("R10: a list of 100 000 objects", () => {
  const TOTAL = 100_000;
  const PAGE = 500;
  const name = (index: number): string => String(index).padStart(6, "0");

  /** Each page after a turn. */
  async function page({ query, response }: Asked, total = TOTAL): Promise<void> {
    if (query.get("watch") !== null) return void response.writeHead(200).flushHeaders();
    await setImmediate();
    const from = Number(query.get("continue") ?? "0");
    const items = Array.from({ length: PAGE }, (_, index) => ({
      ...object(name(from + index)),
      spec: { suspend: false },
    }));
    const more = from + PAGE < total ? { continue: String(from + PAGE) } : {};
    json(response, 200, { metadata: { resourceVersion: "10", ...more }, items });
  }

  it("comes in pages; the event loop turns while it is handed on, and only projections stay in memory", async () => {
    await bench[Symbol.asyncDispose]();
    bench = await WatchBench.start((asked) => void page(asked));
    const { server } = bench;
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const raw: WeakRef<object>[] = [];
    let handed = 0;
    const weighed = new Watch({
      client: server.client,
      path: "/apis/batch/v1/namespaces/jobs/jobs",
      selector: {},
      project: (item) => {
        if (raw.length < 1_000) raw.push(new WeakRef(item));
        return { uid: item.metadata.uid };
      },
      onChange: () => {
        handed += 1;
      },
      log: silentLog,
    });
    let most = 0;
    let listing = true;
    const turning = (async () => {
      for (let before = handed; listing; before = handed) {
        await setImmediate();
        most = Math.max(most, handed - before);
      }
    })();
    await weighed.start();
    listing = false;
    await turning;
    expect(handed).toBe(TOTAL);
    expect(most).toBeLessThanOrEqual(2 * PAGE);
    expect(server.asked.filter(({ query }) => query.get("watch") === null)).toHaveLength(TOTAL / PAGE);
    expect(weighed.get(name(TOTAL - 1))).toBeDefined();
    await setImmediate();
    collect();
    expect(raw.filter((ref) => ref.deref() !== undefined)).toEqual([]);
    await weighed.stop();
  });

  it("stop in the middle ends it: no page more is asked for", async () => {
    await bench[Symbol.asyncDispose]();
    const tenth = Promise.withResolvers<void>();
    let pages = 0;
    bench = await WatchBench.start((asked) => {
      pages += 1;
      if (pages === 10) tenth.resolve();
      else void page(asked);
    });
    const started = bench.watch.start();
    await tenth.promise;
    await bench.watch.stop();
    await started;
    expect(pages).toBe(10);
    expect(bench.changes).toEqual([]);
  });

  it("stop while it is handed on ends that", async () => {
    await bench[Symbol.asyncDispose]();
    bench = await WatchBench.start((asked) => void page(asked, 10 * PAGE));
    const stopping = Promise.withResolvers<Promise<void>>();
    bench.onChange = () => {
      if (bench.changes.length === 3 * PAGE) stopping.resolve(bench.watch.stop());
    };
    const started = bench.watch.start();
    await await stopping.promise;
    await started;
    expect(bench.changes).toHaveLength(3 * PAGE);
  });
});
