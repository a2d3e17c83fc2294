import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { STREAM, workConsumerName } from "../contract/streams.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
import { Workbench } from "./testing/workbench.ts";
import { type PulledWork, WorkPull } from "./work-pull.ts";

const NAMES = ["late", "prompt", "away"] as const;
let server: NatsTestServer;
let bench: Workbench;
beforeAll(async () => {
  server = await NatsTestServer.start();
  const workers = Object.fromEntries(NAMES.map((name) => [name, { subject: `${name}.>` }]));
  bench = await Workbench.open(server, { queues: [], workers });
});
afterAll(() => server[Symbol.asyncDispose]());

/** `answerMs`: how much longer than the broker itself it waits. */
function pulling(name: (typeof NAMES)[number], answerMs = 5_000) {
  const came: PulledWork[] = [];
  const pull = new WorkPull({ connection: bench.connection, answerMs, onMessage: (message) => void came.push(message) });
  const request = (expiresMs: number) =>
    pull.request({ stream: STREAM.work, consumer: workConsumerName(name), batch: 1, expiresMs });
  return { pull, request, came };
}

describe("W1: when a message was asked for", () => {
  it("is when the request was made that brought it", async () => {
    const { pull, request, came } = pulling("prompt");
    await bench.client.publish("prompt.one", "{}");
    const beforeMs = performance.now();
    expect(await request(0)).toEqual({ kind: "filled" });
    expect(came[0]?.askedAtMs).toBeGreaterThanOrEqual(beforeMs);
    await pull.close();
  });

  it("is when the first request was given up of those that it may be from", async () => {
    // Given up long before the broker ends it.
    const { pull, request, came } = pulling("late", -29_900);
    expect(await request(30_000)).toEqual({ kind: "silent" });
    const givenUpAtMs = performance.now();
    const next = request(30_000);
    // The broker serves the oldest request first.
    await bench.client.publish("late.one", "{}");
    await bench.client.publish("late.two", "{}");
    await expect.poll(() => came.length).toBe(2);
    expect(came[0]?.askedAtMs).toBeLessThan(givenUpAtMs);
    expect(came[1]?.askedAtMs).toBeGreaterThanOrEqual(givenUpAtMs);
    expect(await next).toEqual({ kind: "filled" });
    await pull.close();
  });

  it("is a new request after the connection was made anew", async () => {
    const { pull, request, came } = pulling("away");
    const open = request(30_000);
    await server.restart();
    expect(await open).toEqual({ kind: "silent" });
    await bench.client.publish("away.one", "{}");
    expect(await request(0)).toEqual({ kind: "filled" });
    expect(came).toHaveLength(1);
    await pull.close();
  });
});
