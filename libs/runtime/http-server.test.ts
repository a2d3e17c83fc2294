import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Health, Heartbeat } from "./health.ts";
import { HttpServer } from "./http-server.ts";
import { Metrics } from "./metrics.ts";

describe("HttpServer and Health", () => {
  let health: Health;
  let server: HttpServer;
  const get = async (path: string): Promise<{ status: number; body: string }> => {
    const answer = await fetch(`http://127.0.0.1:${server.port}${path}`);
    return { status: answer.status, body: await answer.text() };
  };

  beforeEach(async () => {
    health = new Health();
    server = new HttpServer({ port: 0, health, metrics: new Metrics("test") });
    await server.start();
  });
  afterEach(() => server.stop());

  it("is live while it starts, ready only while it serves", async () => {
    expect(await get("/healthz")).toEqual({ status: 200, body: "ok\n" });
    expect(await get("/readyz")).toEqual({ status: 503, body: "starting\n" });
    health.serve();
    expect(await get("/readyz")).toEqual({ status: 200, body: "ok\n" });
    health.drain();
    expect(await get("/readyz?verbose")).toEqual({ status: 503, body: "draining\n" });
  });

  it("says what does not hold: readiness asks everything, liveness only what a restart would heal", async () => {
    health.serve();
    health.mustLive({ name: "loop", problem: () => undefined });
    let broker: string | undefined = "the connection is closed";
    health.mustBeReady({ name: "broker", problem: () => broker });
    expect(await get("/healthz")).toMatchObject({ status: 200 });
    expect(await get("/readyz")).toEqual({ status: 503, body: "broker: the connection is closed\n" });
    broker = undefined;
    health.mustLive({ name: "sweep", problem: () => "no progress" });
    expect(await get("/healthz")).toEqual({ status: 503, body: "sweep: no progress\n" });
    expect(await get("/readyz")).toEqual({ status: 503, body: "sweep: no progress\n" });
  });

  it("serves the seed's metrics by their names, and 404 for the rest", async () => {
    const { status, body } = await get("/metrics");
    expect(status).toBe(200);
    for (const name of ["queue_length", "messages_processed_total", "messages_failed_total"])
      expect(body).toContain(`# TYPE ${name} `);
    expect(await get("/")).toMatchObject({ status: 404 });
  });

  it("may be started twice and stopped twice, and a probe that connects and says nothing does not hold the stop", async () => {
    await server.start();
    const probe = connect(server.port, "127.0.0.1");
    await once(probe, "connect");
    await server.stop();
    await server.stop();
    probe.destroy();
  });

  it("an address in use is an error of the start", async () => {
    const second = new HttpServer({ port: server.port, health, metrics: new Metrics("test") });
    await expect(second.start()).rejects.toMatchObject({ code: "EADDRINUSE" });
    await second.stop();
  });
});

describe("Heartbeat", () => {
  it("is a problem only after it was silent for too long", () => {
    vi.useFakeTimers();
    try {
      const beat = new Heartbeat("sweep", 10_000);
      vi.advanceTimersByTime(10_000);
      expect(beat.problem()).toBeUndefined();
      vi.advanceTimersByTime(1_000);
      expect(beat.problem()).toBe("no progress for 11 s");
      beat.beat();
      expect(beat.problem()).toBeUndefined();
    } finally {
      vi.useRealTimers();
    }
  });
});
