import { describe, expect, it } from "vitest";
import type { Service } from "./lifecycle.ts";
import { silentLog } from "./log.ts";
import { runTerm } from "./term.ts";

class Told {
  readonly calls: string[] = [];

  service(name: string, rest: { readonly start?: () => Promise<void>; readonly stop?: () => Promise<void> } = {}): Service {
    const call = (what: string, then: (() => Promise<void>) | undefined): Promise<void> => {
      this.calls.push(`${what} ${name}`);
      return then?.() ?? Promise.resolve();
    };
    return { name, start: () => call("start", rest.start), stop: () => call("stop", rest.stop) };
  }
}
const term = (services: () => Promise<readonly Service[]>, signal: AbortSignal) =>
  runTerm({ services, signal, stopTimeoutMs: 1_000, log: silentLog });
const begun = (services: readonly Service[], signal: AbortSignal) => term(() => Promise.resolve(services), signal);

describe("a leader's term", () => {
  it("A13: starts its work in order, and ends only when all of it has stopped, in reverse", async () => {
    const told = new Told();
    const [leading, slow] = [new AbortController(), Promise.withResolvers<void>()];
    const started = Promise.withResolvers<void>();
    const b = told.service("b", { stop: () => slow.promise });
    const c = told.service("c", { start: async () => started.resolve() });
    let over = false;
    const ended = begun([told.service("a"), b, c], leading.signal).then(() => {
      over = true;
    });
    await started.promise;
    leading.abort();
    await Promise.resolve();
    expect([told.calls, over]).toEqual([["start a", "start b", "start c", "stop c"], false]);
    slow.resolve();
    await ended;
    expect(told.calls.slice(3)).toEqual(["stop c", "stop b", "stop a"]);
  });

  it("that is lost while it begins does not go on beginning", async () => {
    const told = new Told();
    const leading = new AbortController();
    const b = told.service("b", { start: async () => leading.abort() });
    await begun([told.service("a"), b, told.service("c")], leading.signal);
    expect(told.calls).toEqual(["start a", "start b", "stop b", "stop a"]);
  });

  it("that is lost before its work was put together starts nothing", async () => {
    const told = new Told();
    const leading = new AbortController();
    await term(async () => {
      leading.abort();
      return [told.service("a")];
    }, leading.signal);
    expect(told.calls).toEqual([]);
  });

  it("A13: the next one begins anew, with work of its own", async () => {
    const told = new Told();
    for (const name of ["first", "second"]) {
      const leading = new AbortController();
      await begun([told.service(name), told.service("end", { start: async () => leading.abort() })], leading.signal);
    }
    expect(told.calls.filter((call) => !call.endsWith("end"))).toEqual([
      "start first",
      "stop first",
      "start second",
      "stop second",
    ]);
  });

  it("whose work cannot be started fails with the cause, and what was started is stopped", async () => {
    const told = new Told();
    const b = told.service("b", { start: () => Promise.reject(new Error("no stream")) });
    const failing = begun([told.service("a"), b], new AbortController().signal);
    await expect(failing).rejects.toMatchObject({ code: "TERM_FAILED", cause: { message: "b could not start: no stream" } });
    expect(told.calls).toEqual(["start a", "start b", "stop b", "stop a"]);
  });

  it("ends, too, when something of it fails to stop", async () => {
    const told = new Told();
    const leading = new AbortController();
    const a = told.service("a", { stop: () => Promise.reject(new Error("stuck")) });
    await begun([a, told.service("b", { start: async () => leading.abort() })], leading.signal);
    expect(told.calls).toEqual(["start a", "start b", "stop b", "stop a"]);
  });
});
