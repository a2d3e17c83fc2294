import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Health } from "./health.ts";
import { HttpServer } from "./http-server.ts";
import { Lifecycle, type Service } from "./lifecycle.ts";
import { silentLog } from "./log.ts";
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

  it("names what holds as well when it is asked for all of it", async () => {
    health.serve();
    health.mustLive({ name: "loop", problem: () => undefined });
    health.mustBeReady({ name: "broker", problem: () => "away" });
    health.mustBeReady({ name: "watch", problem: () => undefined });
    health.mention(() => ["queue default is paused"]);
    expect(await get("/healthz?verbose")).toEqual({ status: 200, body: "ok\nloop: ok\n" });
    expect(await get("/readyz?verbose")).toEqual({
      status: 503,
      body: "broker: away\nloop: ok\nwatch: ok\nqueue default is paused\n",
    });
    expect(await get("/readyz?other")).toEqual({ status: 503, body: "broker: away\nqueue default is paused\n" });
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

describe("while the service drains", () => {
  it("/readyz says so and /healthz stays well, whatever the checks say, until the process ends", async () => {
    const health = new Health();
    const http = new HttpServer({ port: 0, health, metrics: new Metrics("test") });
    const draining = Promise.withResolvers<void>();
    const drained = Promise.withResolvers<void>();
    let isClosed = false;
    health.mustLive({ name: "broker", problem: () => (isClosed ? "the connection is closed" : undefined) });
    health.mustBeReady({ name: "watch", problem: () => (isClosed ? "stopped" : undefined) });
    const work: Service = {
      name: "work",
      start: () => Promise.resolve(),
      stop: () => {
        isClosed = true;
        draining.resolve();
        return drained.promise;
      },
    };
    const readiness: Service = {
      name: "readiness",
      start: () => Promise.resolve(health.serve()),
      stop: () => Promise.resolve(health.drain()),
    };
    const lifecycle = new Lifecycle({ services: [http, work, readiness], log: silentLog, stopTimeoutMs: 60_000 });
    const ask = async (path: string): Promise<string> => {
      const answer = await fetch(`http://127.0.0.1:${http.port}${path}`);
      return `${answer.status} ${await answer.text()}`;
    };
    await lifecycle.start();
    expect(await ask("/readyz")).toBe("200 ok\n");
    const url = `http://127.0.0.1:${http.port}/healthz`;
    const stopped = lifecycle.stop();
    await draining.promise;
    expect(await ask("/readyz")).toBe("503 draining\n");
    expect(await ask("/healthz")).toBe("200 ok\n");
    expect(await ask("/metrics")).toContain("200 ");
    drained.resolve();
    await stopped;
    await expect(fetch(url)).rejects.toThrow();
  });
});
