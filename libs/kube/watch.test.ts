import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Asked, json, refuse } from "./testing/fake-api-server.ts";
import { bookmark, line, object, WatchBench } from "./testing/watch-bench.ts";

let bench: WatchBench;
beforeEach(async () => {
  bench = await WatchBench.start();
});
afterEach(() => bench[Symbol.asyncDispose]());

describe("J1: what is observed of the cluster", () => {
  it("a list of several pages is one list, and the watch begins where it ended", async () => {
    const { watch } = bench;
    const started = watch.start();
    const first = await bench.list();
    expect(first.query.get("labelSelector")).toBe("a=b");
    expect(first.query.get("limit")).toBe("500");
    json(first.response, 200, { metadata: { resourceVersion: "10", continue: "more" }, items: [object("a"), object("b")] });
    const second = await bench.list();
    expect(second.query.get("continue")).toBe("more");
    expect(bench.changes).toEqual([]);
    json(second.response, 200, { metadata: { resourceVersion: "10", continue: "" }, items: [object("c")] });
    await started;
    expect([...watch.values()].map(({ uid }) => uid)).toEqual(["a", "b", "c"]);
    const stream = await bench.following("10");
    stream.write(
      line("ADDED", object("d", "11")) + line("MODIFIED", object("a", "12", "new")) + line("DELETED", object("b", "13")),
    );
    expect(await bench.seen(6)).toEqual(["present a", "present b", "present c", "present d", "present a=new", "gone b"]);
    expect(watch.get("a")?.name).toBe("new");
    expect(watch.get("b")).toBeUndefined();
  });

  it("a list without items, which Go writes as null, is an empty list", async () => {
    const started = bench.watch.start();
    json((await bench.list()).response, 200, { metadata: { resourceVersion: "10" }, items: null });
    await started;
    await bench.following("10");
    expect([...bench.watch.values()]).toEqual([]);
  });

  it("a clean close goes on from the last version, which a bookmark may have given", async () => {
    (await bench.begun("a")).end(line("MODIFIED", object("a", "15")) + bookmark("40"));
    await bench.following("40");
    expect(bench.changes).toEqual(["present a", "present a"]);
  });

  it("never goes back: a bookmark that is older than what was seen changes nothing", async () => {
    (await bench.begun("a")).end(line("MODIFIED", object("a", "115")) + bookmark("40") + bookmark("9"));
    await bench.following("115");
  });

  it("an ADDED for what is known is its newest state, and it is there once", async () => {
    (await bench.begun("a")).write(line("ADDED", object("a", "11", "new")));
    expect(await bench.seen(2)).toEqual(["present a", "present a=new"]);
    expect([...bench.watch.values()]).toEqual([{ uid: "a", name: "new" }]);
  });

  it("a DELETED tells its last state; one for what is not known tells nobody anything", async () => {
    const stream = await bench.begun("a");
    stream.write(line("DELETED", object("x", "11")) + line("DELETED", object("a", "12", "last")));
    stream.write(line("DELETED", object("a", "13")) + line("ADDED", object("b", "14")));
    expect(await bench.seen(3)).toEqual(["present a", "gone a=last", "present b"]);
  });

  it.each([
    ["goes before the next comes", ["DELETED old", "ADDED new"]],
    ["goes after the next has come", ["ADDED new", "DELETED old"]],
  ])("a name that is used again is another object: the old one %s", async (_what, events) => {
    const stream = await bench.begun();
    stream.write(line("ADDED", object("old", "11", "job")));
    for (const event of events) {
      const [type = "", uid = ""] = event.split(" ");
      stream.write(line(type, object(uid, "12", "job")));
    }
    await bench.seen(3);
    expect(bench.changes.toSorted()).toEqual(["gone old=job", "present new=job", "present old=job"]);
    expect([...bench.watch.values()]).toEqual([{ uid: "new", name: "job" }]);
  });

  it("a name that was used again during a gap: the list tells by uid that the old one is gone", async () => {
    const stream = await bench.begun();
    stream.write(line("ADDED", object("old", "11", "job")));
    await bench.seen(1);
    stream.end(line("ERROR", { code: 410, reason: "Expired", message: "too old" }));
    json((await bench.list()).response, 200, { metadata: { resourceVersion: "20" }, items: [object("new", "15", "job")] });
    expect((await bench.seen(3)).slice(1)).toEqual(["gone old=job", "present new=job"]);
  });

  it.each([
    ["as status", (asked: Asked) => refuse(asked.response, 410, "Expired", "too old resource version")],
    [
      "as event",
      (asked: Asked) =>
        void asked.response.end(line("ERROR", { kind: "Status", code: 410, reason: "Expired", message: "too old" })),
    ],
  ])("410 %s: a new list, and what went away in the gap is reported as gone", async (_what, answer) => {
    const started = bench.watch.start();
    await bench.listed("10", "a", "b", "c");
    await started;
    answer(await bench.follow("10"));
    await bench.listed("90", "b", "d");
    expect((await bench.seen(7)).slice(3)).toEqual(["gone a", "gone c", "present b", "present d"]);
    await bench.following("90");
    expect(bench.reasons).toEqual(["first", "expired"]);
    expect(bench.listsDone).toBe(2);
  });

  it("a quiet watch that ends at its time is followed by the next at once, however many there were before it", async () => {
    const started = bench.watch.start();
    await bench.listed("7");
    await started;
    for (let ended = 0; ended < 8; ended += 1) {
      const { response } = await bench.follow("7");
      bench.clockMs += 60_000;
      response.writeHead(200).end();
    }
    await bench.follow("7");
    expect(bench.waits).toEqual([]);
  });

  it("another error as event goes on from where it was, without a list", async () => {
    (await bench.begun("a")).end(
      line("ADDED", object("b", "11")) + line("ERROR", { kind: "Status", code: 500, reason: "InternalError", message: "etcd" }),
    );
    await bench.following("11");
    expect(bench.changes).toEqual(["present a", "present b"]);
  });

  it("stop ends it at once while it lists, follows or waits, and resolves a start that still waits", async () => {
    const started = bench.watch.start();
    await bench.list();
    await bench.watch.stop();
    await started;
    expect(bench.changes).toEqual([]);
  });
});

describe("how fresh the store is", () => {
  const MINUTE_MS = 60_000;

  it.each([
    ["an event", line("ADDED", object("b", "11"))],
    ["a bookmark", bookmark("40")],
  ])("it follows the server as of %s", async (_what, text) => {
    const stream = await bench.begun("a");
    bench.clockMs += MINUTE_MS;
    expect(bench.watch.freshnessMs()).toBe(MINUTE_MS);
    stream.write(text);
    await expect.poll(() => bench.watch.freshnessMs()).toBe(0);
  });

  it("it follows the server as of the end of a watch at its time, and of no end at once", async () => {
    const stream = await bench.begun("a");
    bench.clockMs += MINUTE_MS;
    stream.end();
    const next = await bench.following("10");
    expect(bench.watch.freshnessMs()).toBe(0);
    bench.clockMs += 4_000;
    next.end();
    await bench.follow("10");
    expect(bench.watch.freshnessMs()).toBeGreaterThanOrEqual(4_000);
  });

  it("a watch that is answered and says nothing becomes a problem when its end is overdue, though nothing has failed", async () => {
    await bench.begun("a");
    bench.clockMs += 70_000;
    expect(bench.watch.problem()).toBeUndefined();
    bench.clockMs += 31_000;
    expect(bench.watch.problem()).toBe("the API server has said nothing for 101 s");
  });

  it("a server that ends every watch at once with nothing is not followed: the list is made anew before that is a problem", async () => {
    const started = bench.watch.start();
    await bench.listed("10", "a", "b");
    await started;
    let asked = await bench.follow("10");
    for (; asked.query.get("watch") !== null; asked = await bench.next()) asked.response.writeHead(200).end();
    expect(bench.watch.freshnessMs()).toBeGreaterThan(30_000);
    expect(bench.watch.freshnessMs()).toBeLessThan(100_000);
    json(asked.response, 200, { metadata: { resourceVersion: "3" }, items: [object("b")] });
    expect((await bench.seen(4)).slice(2)).toEqual(["gone a", "present b"]);
    // The data were restored: the version is an older one, and so it must be.
    await bench.following("3");
    expect(bench.watch.problem()).toBeUndefined();
    expect(bench.reasons).toEqual(["first", "silent"]);
  });

  it("a watch that broke soon after a word goes on from there; after a long silence it begins anew", async () => {
    const stream = await bench.begun("a");
    stream.write(line("ADDED", object("b", "11")));
    await bench.seen(2);
    bench.clockMs += 20_000;
    stream.socket?.destroy();
    const again = await bench.following("11");
    bench.clockMs += 31_000;
    again.socket?.destroy();
    await bench.listed("30", "b");
    expect((await bench.seen(4)).slice(2)).toEqual(["gone a", "present b"]);
  });
});

describe("a watch that goes on and on is compared with a list from time to time", () => {
  /** Its watch from version 10 has gone on for ten minutes; this is the stream of the next one, beside which a list was asked for. */
  async function checked(...uids: readonly string[]) {
    let stream = await bench.begun(...uids);
    for (let minute = 0; minute < 8; minute += 1) {
      bench.clockMs += 60_000;
      stream.end();
      stream = await bench.following("10");
    }
    bench.clockMs += 1;
    stream.write(bookmark("10"));
    await expect.poll(() => bench.watch.freshnessMs()).toBe(0);
    bench.clockMs += 120_000;
    stream.end();
    return { stream: await bench.following("10"), list: await bench.list() };
  }

  const answer = ({ response }: Asked, resourceVersion: string, ...items: readonly object[]): void =>
    json(response, 200, { metadata: { resourceVersion }, items });

  /** The watch's time is over, and the next one goes on from there. */
  async function nextMinute(stream: Asked["response"], resourceVersion: string): Promise<Asked["response"]> {
    bench.clockMs += 60_000;
    stream.end();
    return bench.following(resourceVersion);
  }

  /** Watch follows watch, each to its end, as many as it takes until a list is asked for. */
  async function listAfter(stream: Asked["response"]): Promise<Asked> {
    bench.clockMs += 60_000;
    stream.end();
    const asked = await bench.next();
    if (asked.query.get("watch") === null) return asked;
    asked.response.writeHead(200).flushHeaders();
    return listAfter(asked.response);
  }

  it("what it was not told of is found: what came, what changed, what went", async () => {
    const { stream, list } = await checked("a", "b", "c");
    answer(list, "20", object("b"), object("c", "15", "new"), object("d"));
    const next = await nextMinute(stream, "10");
    // It may be on its way until a watch that began after the list has had all its time.
    expect(bench.changes).toEqual(["present a", "present b", "present c"]);
    expect(bench.watch.problem()).toBeUndefined();
    answer(await listAfter(next), "21", object("b"), object("c", "15", "new"), object("d"));
    expect((await bench.seen(7)).slice(3)).toEqual(["gone a", "present b", "present c=new", "present d"]);
    await bench.following("21");
    expect(bench.reasons).toEqual(["first", "astray missed", "missed"]);
  });

  it("a word of a later version ends the waiting: what it has not told by then it will not tell", async () => {
    const { stream, list } = await checked("a", "b");
    answer(list, "20", object("b"));
    stream.write(line("MODIFIED", object("b", "19")));
    await bench.seen(3);
    expect(bench.reasons).toEqual(["first"]);
    // As often as it takes for the list to be read.
    const saying = setInterval(() => stream.write(bookmark("20")), 5);
    const again = await bench.list();
    clearInterval(saying);
    answer(again, "21", object("b"));
    expect((await bench.seen(5)).slice(3)).toEqual(["gone a", "present b"]);
    await bench.following("21");
  });

  it("data that were restored in a moment, to which a quiet watch of a future version is blind", async () => {
    const { stream, list } = await checked("a", "b");
    answer(list, "7", object("b"));
    answer(await listAfter(stream), "7", object("b"));
    await bench.following("7");
    expect(bench.changes.slice(2)).toEqual(["gone a", "present b"]);
    expect(bench.reasons).toEqual(["first", "astray restored", "restored"]);
  });

  it("what happens meanwhile is no difference, and its last words are told though the list knows nothing of them", async () => {
    const { stream, list } = await checked("a", "b");
    // The list was made after all of this, and the watch tells it later.
    answer(list, "20", object("b", "13", "new"), object("c", "14"));
    stream.write(line("MODIFIED", object("a", "11", "failed")) + line("DELETED", object("a", "12", "failed")));
    stream.write(line("MODIFIED", object("b", "13", "new")) + line("ADDED", object("c", "14")));
    await bench.seen(6);
    const next = await nextMinute(stream, "14");
    await nextMinute(next, "14");
    expect(bench.changes.slice(2)).toEqual(["present a=failed", "gone a=failed", "present b=new", "present c"]);
    expect(bench.reasons).toEqual(["first"]);
  });

  it("one that is right is not asked again before its time; a list after a gap is a check, too", async () => {
    const { stream, list } = await checked("a");
    answer(list, "20", object("a"));
    let next = await nextMinute(stream, "10");
    for (let minute = 0; minute < 8; minute += 1) next = await nextMinute(next, "10");
    next.end(line("ERROR", { code: 410, reason: "Expired", message: "too old" }));
    await bench.listed("30", "a");
    next = await bench.following("30");
    for (let minute = 0; minute < 8; minute += 1) next = await nextMinute(next, "30");
    expect(bench.reasons).toEqual(["first", "expired"]);
  });

  it("a list that cannot be had is no problem of the watch, and is asked for again beside a later one", async () => {
    const { stream, list } = await checked("a", "b");
    refuse(list.response, 503, "ServiceUnavailable", "busy");
    stream.write(line("MODIFIED", object("b", "11")));
    await bench.seen(3);
    expect(bench.watch.problem()).toBeUndefined();
    answer(await listAfter(stream), "20", object("b", "11"));
    answer(await listAfter(await bench.following("11")), "21", object("b", "11"));
    expect((await bench.seen(5)).slice(3)).toEqual(["gone a", "present b"]);
    expect(bench.waits).toEqual([]);
  });

  it("stop ends its list as well", async () => {
    const { list } = await checked("a");
    const closed = once(list.response, "close");
    await bench.watch.stop();
    await closed;
  });
});
