import { describe, expect, it } from "vitest";
import { defineWorker } from "./worker.ts";
import { workerSettings } from "./worker-env.ts";

const handler = (): void => {};
const download = defineWorker({ queue: "image-download", handler, concurrency: 2, timeout: "90s" });
const resize = defineWorker({ queue: "image-resize", handler });

describe("a worker's settings", () => {
  it("are those of defineWorker on a laptop", () => {
    const { settings } = workerSettings([download], {});
    expect(settings).toMatchObject({
      name: "image-download",
      concurrency: 2,
      timeoutMs: 90_000,
      graceMs: 110_000,
      ackWaitMs: 120_000,
      httpPort: 8080,
      retry: { attempts: 3 },
    });
    expect(settings.nats.NATS_URL).toBe("nats://127.0.0.1:4222");
  });

  it("are the chart's where it sets them", () => {
    const { worker, settings } = workerSettings([download], {
      MILLRACE_WORKER: "big-images",
      MILLRACE_CONCURRENCY: "5",
      MILLRACE_TIMEOUT: "10m",
      MILLRACE_GRACE: "15m",
      MILLRACE_RETRY: '{"attempts":15,"backoff":{"initial":"41m","increment":"41m","max":"24h"}}',
      ACK_WAIT: "60s",
      POD_UID: "uid-1",
      POD_NAME: "pod-1",
      NODE_NAME: "node-1",
    });
    expect(worker).toBe(download);
    expect(settings).toMatchObject({
      name: "big-images",
      concurrency: 5,
      timeoutMs: 600_000,
      graceMs: 900_000,
      ackWaitMs: 60_000,
      retry: { attempts: 15, backoff: { increment: 2_460_000 } },
      holder: { pod: "uid-1", podName: "pod-1", node: "node-1" },
    });
  });

  it("have no time that a timer cannot hold: a handler that may take a month would be told at once that it is over", () => {
    const { settings } = workerSettings([download], { MILLRACE_TIMEOUT: "30d", MILLRACE_GRACE: "31d" });
    expect(settings).toMatchObject({ timeoutMs: 2 ** 31 - 1, graceMs: 2 ** 31 - 1 });
  });

  it("name a pod of its own for each process outside Kubernetes: two on one machine are two holders", () => {
    const pods = [0, 1].map(() => workerSettings([download], {}).settings.holder);
    expect(pods[0]?.pod).not.toBe(pods[1]?.pod);
    expect(pods[0]?.process).not.toBe(pods[1]?.process);
  });

  it("choose one of several workers", () => {
    expect(workerSettings([download, resize], { MILLRACE_WORKER: "image-resize" }).worker).toBe(resize);
    const unnamed = (): unknown => workerSettings([download, resize], {});
    expect(unnamed).toThrow("set MILLRACE_WORKER to the worker that this process is to be: image-download, image-resize");
    expect(() => workerSettings([], {})).toThrow("call defineWorker first");
  });

  it.each([
    ["MILLRACE_RETRY", "{nope"],
    ["MILLRACE_RETRY", '{"attempts":0}'],
    ["MILLRACE_TIMEOUT", "0m0s"],
    ["MILLRACE_CONCURRENCY", "0"],
    ["MILLRACE_WORKER", "No Name"],
    ["ACK_WAIT", "soon"],
  ])("say what is wrong with %s=%s, without the value", (name, value) => {
    const read = (): unknown => workerSettings([download], { [name]: value });
    expect(read).toThrow(name);
    expect(read).not.toThrow(value);
  });
});

describe("defineWorker", () => {
  it.each([
    [{ queue: "No Name" }, "queue must be"],
    [{ concurrency: 0 }, "concurrency must be"],
    [{ concurrency: 1.5 }, "concurrency must be"],
    [{ timeout: "soon" }, "timeout must be"],
    [{ timeout: "0s" }, "timeout must be"],
  ])("refuses %j", (wrong, problem) => {
    expect(() => defineWorker({ queue: "ok", handler, ...wrong })).toThrow(problem);
  });
});
