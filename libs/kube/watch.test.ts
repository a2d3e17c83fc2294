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
  });

  it("a quiet watch that ends at its time is followed by the next at once, however many there were before it", async () => {
    const started = bench.watch.start();
    await bench.listed("7");
    await started;
    for (let ended = 0; ended < 12; ended += 1) {
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
