import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Log, silentLog } from "../runtime/log.ts";
import { CONFIG_KEY, DispatchConfigSource } from "./dispatch-config-source.ts";
import { type Asked, FakeApiServer, json } from "./testing/fake-api-server.ts";
import { line } from "./testing/watch-bench.ts";

const withQueues = (...names: readonly string[]): string =>
  JSON.stringify({ queues: Object.fromEntries(names.map((name) => [name, {}])), templates: {} });
const configMap = (uid: string, text: string) => ({
  metadata: { uid, name: "queues", resourceVersion: "5" },
  data: { [CONFIG_KEY]: text },
});

let server: FakeApiServer;
let source: DispatchConfigSource;
/** Of the ConfigMap, as it is listed. */
let listed: object[];
let stream: Asked["response"] | undefined;
let events: string[];
/** The queues that each change brought. */
let heard: string[][];
beforeEach(async () => {
  listed = [configMap("one", withQueues("first"))];
  stream = undefined;
  events = [];
  heard = [];
  server = await FakeApiServer.start(({ query, response }) => {
    if (query.get("watch") === null) return json(response, 200, { metadata: { resourceVersion: "5" }, items: listed });
    response.writeHead(200).flushHeaders();
    stream = response;
    return undefined;
  });
  const say = (event: string): void => void events.push(event);
  const log: Log = { ...silentLog, info: say, warn: say, error: say };
  source = new DispatchConfigSource({ client: server.client, namespace: "ns", configMap: "queues", log });
  source.subscribe(({ queues }) => void heard.push(Object.keys(queues)));
  await source.start();
  await vi.waitFor(() => expect(stream).toBeDefined());
});
afterEach(async () => {
  await source.stop();
  await server[Symbol.asyncDispose]();
});
const happens = (type: string, object: object): void => void stream?.write(line(type, object));
const until = (check: () => void) => vi.waitFor(check);
const told = (event: string): number => events.filter((each) => each === event).length;

describe("the configuration that is in force", () => {
  it("a ConfigMap that is deleted is a problem, and what it said last stays in force until it is back", async () => {
    expect(source.problem()).toBeUndefined();
    happens("DELETED", configMap("one", withQueues("first")));
    await until(() => expect(source.problem()).toContain("ConfigMap queues was deleted"));
    expect(Object.keys(source.current.queues)).toEqual(["first"]);
    expect(heard).toEqual([["first"]]);
    expect(told("config.gone")).toBe(1);
    happens("ADDED", configMap("two", withQueues("first")));
    await until(() => expect(source.problem()).toBeUndefined());
    happens("MODIFIED", configMap("two", withQueues("first", "second")));
    await until(() => expect(heard.at(-1)).toEqual(["first", "second"]));
  });

  it("that it is gone is found by a list, too", async () => {
    listed = [];
    stream?.end(line("ERROR", { kind: "Status", code: 410, reason: "Expired", message: "too old" }));
    await until(() => expect(source.problem()).toContain("was deleted"));
    expect(Object.keys(source.current.queues)).toEqual(["first"]);
  });

  it("one that was made anew before the old one went is there", async () => {
    happens("ADDED", configMap("two", withQueues("second")));
    happens("DELETED", configMap("one", withQueues("first")));
    happens("MODIFIED", configMap("two", withQueues("third")));
    await until(() => expect(heard).toEqual([["first"], ["second"], ["third"]]));
    expect(source.problem()).toBeUndefined();
    expect(told("config.gone")).toBe(0);
  });

  it("one that cannot be used changes nothing and says why, until it can be", async () => {
    happens("MODIFIED", configMap("one", '{"queues":{"default":{"weight":"many"}}}'));
    await until(() => expect(source.problem()).toContain("queues.default.weight"));
    expect(Object.keys(source.current.queues)).toEqual(["first"]);
    happens("MODIFIED", configMap("one", withQueues("first")));
    await until(() => expect(source.problem()).toBeUndefined());
    expect([told("config.refused"), told("config.applied")]).toEqual([1, 2]);
  });

  it("a new list that says the same is no change", async () => {
    // The other one says that the first has been read again.
    listed = [configMap("one", withQueues("first")), configMap("other", withQueues("second"))];
    stream?.end(line("ERROR", { kind: "Status", code: 410, reason: "Expired", message: "too old" }));
    await until(() => expect(heard.at(-1)).toEqual(["second"]));
    expect(told("config.applied")).toBe(2);
  });
});
