import { afterEach, describe, expect, it, vi } from "vitest";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { type ConnectionTimes, ScalerServer } from "./scaler-server.ts";
import { KedaClient } from "./testing/keda-client.ts";
import { TcpLink } from "./testing/tcp-link.ts";

const METADATA = { worker: "resize", subject: "images.resize", lagThreshold: "1" };
const LONG_MS = 3_600_000;

let listeners: Set<(isActive: boolean) => void>;
let server: ScalerServer;
let link: TcpLink;
let keda: KedaClient;
const nothing = (): void => {};

/** A scaler whose only worker is idle, and a KEDA that comes by the link. */
async function open(times: Partial<ConnectionTimes> = {}): Promise<void> {
  listeners = new Set();
  const watch = {
    ask: () => Promise.resolve({ kind: "known", lag: 0, isActive: false } as const),
    subscribe: (listener: (isActive: boolean) => void) => {
      listeners.add(listener);
      listener(false);
      return () => void listeners.delete(listener);
    },
  };
  server = new ScalerServer({
    port: 0,
    watches: { of: () => watch },
    metrics: new Metrics("scaler"),
    log: { debug: nothing, info: nothing, warn: nothing, error: nothing },
    times: { pingMs: LONG_MS, answerMs: LONG_MS, ageMs: LONG_MS, ...times },
  });
  await server.start();
  link = await TcpLink.to(server.port);
  keda = new KedaClient(link.port);
}

afterEach(async () => {
  keda[Symbol.dispose]();
  link[Symbol.dispose]();
  await server.stop();
});

const soon = (check: () => void | Promise<void>): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 20 });

describe("a KEDA whose node is lost without a word", () => {
  it("is given up: its stream ends, and nobody listens to the worker for it any more", async () => {
    await open({ pingMs: 50, answerMs: 1_000 });
    const stream = keda.stream(METADATA);
    expect(await stream.next()).toBe(false);
    expect([server.streams, listeners.size]).toEqual([1, 1]);
    link.silence();
    await soon(() => expect([server.streams, listeners.size]).toEqual([0, 0]));
  });
});

describe("a connection that lasts", () => {
  it("is ended after a while, and so are its streams: KEDA comes again, and finds the scaler of its own node", async () => {
    await open({ ageMs: 100 });
    const stream = keda.stream(METADATA);
    expect(await stream.next()).toBe(false);
    expect(await stream.ended()).toBe("ended");
    expect(listeners.size).toBe(0);
    await soon(async () => {
      expect(await keda.isActive(METADATA)).toBe(false);
      expect(link.connections).toBeGreaterThan(1);
    });
  });
});

it("a stream that was ended is told nothing more: it would end with an error, and KEDA wait ever longer", async () => {
  await open();
  const stream = keda.stream(METADATA);
  expect(await stream.next()).toBe(false);
  for (const tell of listeners) tell(true);
  // Before that is on its way.
  const stopped = server.stop();
  for (const tell of listeners) tell(false);
  expect(await stream.ended()).toBe("ended");
  expect(stream.pushes).toEqual([false, true]);
  expect(listeners.size).toBe(0);
  await stopped;
});
