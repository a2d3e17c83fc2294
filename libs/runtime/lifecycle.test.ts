import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Lifecycle, type Service } from "./lifecycle.ts";
import { silentLog } from "./log.ts";

afterEach(() => void vi.useRealTimers());

interface Behaviour {
  readonly start?: () => Promise<void>;
  readonly stop?: () => Promise<void>;
}

function service(name: string, calls: string[], { start, stop }: Behaviour = {}): Service {
  return {
    name,
    start: () => {
      calls.push(`start ${name}`);
      return start?.() ?? Promise.resolve();
    },
    stop: () => {
      calls.push(`stop ${name}`);
      return stop?.() ?? Promise.resolve();
    },
  };
}
const lifecycle = (services: readonly Service[]) => new Lifecycle({ services, log: silentLog, stopTimeoutMs: 1_000 });
const fail = (why: string) => () => Promise.reject(new Error(why));
const never = () => new Promise<void>(() => {});

describe("Lifecycle", () => {
  it("starts in order and stops in reverse, once, however often stop is asked for", async () => {
    const calls: string[] = [];
    const whole = lifecycle([service("a", calls), service("b", calls)]);
    await whole.start();
    await Promise.all([whole.stop(), whole.stop()]);
    await whole.stop();
    expect(calls).toEqual(["start a", "start b", "stop b", "stop a"]);
  });

  it("stop without start is harmless", async () => {
    const calls: string[] = [];
    await lifecycle([service("a", calls)]).stop();
    expect(calls).toEqual([]);
  });

  it("a failed start stops what was started and names the culprit", async () => {
    const calls: string[] = [];
    const whole = lifecycle([service("a", calls), service("b", calls, { start: fail("no port") }), service("c", calls)]);
    await expect(whole.start()).rejects.toMatchObject({ code: "START_FAILED", message: "b could not start: no port" });
    expect(calls).toEqual(["start a", "start b", "stop b", "stop a"]);
  });

  it("a failed stop after a failed start does not hide why it did not start", async () => {
    const whole = lifecycle([service("a", [], { stop: fail("stuck") }), service("b", [], { start: fail("no port") })]);
    await expect(whole.start()).rejects.toMatchObject({ code: "START_FAILED", message: "b could not start: no port" });
  });

  it("an overrun names the culprit, and the others are still told to stop", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const timeout = new AbortController();
    vi.spyOn(AbortSignal, "timeout").mockReturnValue(timeout.signal);
    const calls: string[] = [];
    const whole = lifecycle([service("a", calls), service("hung", calls, { stop: never }), service("c", calls)]);
    await whole.start();
    const stopped = whole.stop();
    await vi.waitFor(() => expect(calls).toContain("stop hung"));
    timeout.abort();
    await expect(stopped).rejects.toMatchObject({ code: "STOP_TIMEOUT", message: expect.stringMatching(/^hung /) });
    expect(calls.slice(3)).toEqual(["stop c", "stop hung", "stop a"]);
    vi.restoreAllMocks();
  });

  it("a service that fails to stop keeps no other from being stopped", async () => {
    const calls: string[] = [];
    const whole = lifecycle([service("a", calls), service("b", calls, { stop: fail("broken") }), service("c", calls)]);
    await whole.start();
    await expect(whole.stop()).rejects.toThrow("broken");
    expect(calls.slice(3)).toEqual(["stop c", "stop b", "stop a"]);
  });

  it("stop during start ends the start: nothing is started after it", async () => {
    const calls: string[] = [];
    const waiting = Promise.withResolvers<void>();
    const config = service("config", calls, {
      start: () => waiting.promise,
      stop: () => Promise.resolve(waiting.resolve()),
    });
    const whole = lifecycle([service("a", calls), config, service("c", calls)]);
    const started = whole.start();
    await vi.waitFor(() => expect(calls).toContain("start config"));
    await Promise.all([whole.stop(), expect(started).rejects.toMatchObject({ code: "START_CANCELLED" })]);
    expect(calls).toEqual(["start a", "start config", "stop config", "stop a"]);
  });

  it("any mix of services that start, fail, stop and break: what was started is stopped, in reverse, once", async () => {
    const kind = fc.record({ start: fc.constantFrom("ok", "ok", "ok", "fails"), stop: fc.constantFrom("ok", "ok", "fails") });
    await fc.assert(
      fc.asyncProperty(fc.array(kind, { maxLength: 6 }), fc.nat(6), async (kinds, stopAfter) => {
        const calls: string[] = [];
        const services = kinds.map(({ start, stop }, index) =>
          service(String(index), calls, {
            start: start === "ok" ? () => Promise.resolve() : fail("start"),
            stop: stop === "ok" ? () => Promise.resolve() : fail("stop"),
          }),
        );
        const whole = lifecycle(services);
        const started = whole.start().catch(() => {});
        for (let turn = 0; turn < stopAfter; turn += 1) await Promise.resolve();
        await whole.stop().catch(() => {});
        await started;
        const begun = calls.filter((call) => call.startsWith("start")).map((call) => call.slice("start ".length));
        const ended = calls.filter((call) => call.startsWith("stop")).map((call) => call.slice("stop ".length));
        expect(ended).toEqual(begun.toReversed());
      }),
      { numRuns: 300 },
    );
  });
});
