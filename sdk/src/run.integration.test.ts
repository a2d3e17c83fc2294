import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { HeardLog } from "../testing/heard-log.ts";
import { WorkerBench } from "../testing/worker-bench.ts";

const NAMES = Array.from({ length: 10 }, (_, index) => `w${index}`);
let bench: WorkerBench;
let named = 0;
const children = new Set<ChildProcess>();
beforeAll(async () => {
  bench = await WorkerBench.open(NAMES, 1_500);
});
afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  children.clear();
  await bench.stopAll();
});
afterAll(() => bench[Symbol.asyncDispose]());

const line = z.looseObject({ event: z.string() });

interface Program {
  readonly log: HeardLog;
  readonly child: ChildProcess;
  readonly ended: Promise<{ readonly code: unknown; readonly signal: unknown; readonly said: string }>;
}

function start(name: string, env: NodeJS.ProcessEnv = {}): Program {
  const child = spawn(process.execPath, [join(import.meta.dirname, "../testing/worker-program.ts")], {
    env: {
      PATH: process.env["PATH"],
      NATS_URL: bench.server.url,
      MILLRACE_WORKER: name,
      MILLRACE_RETRY: '{"backoff":{"delays":["0s"]}}',
      ACK_WAIT: "1500ms",
      HTTP_SERVER_PORT: "0",
      ...env,
    },
  });
  children.add(child);
  const log = new HeardLog();
  createInterface({ input: child.stdout }).on("line", (text) => {
    const { event, ...fields } = line.parse(JSON.parse(text));
    log.info(event, fields);
  });
  let said = "";
  child.stderr.on("data", (chunk) => {
    said += String(chunk);
  });
  const ended = once(child, "close").then(([code, signal]: unknown[]) => ({ code, signal, said }));
  return { log, child, ended };
}

async function working(task: object, env: NodeJS.ProcessEnv = {}): Promise<Program & { readonly name: string }> {
  const name = NAMES[named++] ?? "";
  const program = start(name, env);
  await bench.publish(`${name}.one`, task);
  await program.log.until("handler.began");
  return { ...program, name };
}

describe("a worker's process", () => {
  it("K10: ends what is in flight when it is told to end, and exits 0", async () => {
    const { name, child, log, ended } = await working({ waitMs: 1_000 });
    child.kill("SIGTERM");
    expect(await ended).toMatchObject({ code: 0 });
    expect(log.of("message.succeeded")).toMatchObject([{ attempt: 1, level: "info", service: name, worker: name }]);
    await bench.settled(name);
  });

  it("K10: hands back at once at the second signal, and exits 1; the next one makes the same attempt", async () => {
    const { name, child, log, ended } = await working({ waitMs: 60_000 });
    child.kill("SIGTERM");
    await log.until("worker.draining");
    // One that comes with the first is the same one, sent to the whole group.
    const again = setInterval(() => child.kill("SIGTERM"), 200);
    expect(await ended).toMatchObject({ code: 1 });
    clearInterval(again);
    expect(log.of("message.handed-back")).toHaveLength(1);
    const other = bench.start(name, { handler: () => {} });
    expect(await other.log.until("message.succeeded")).toMatchObject([{ attempt: 1 }]);
  });

  it("exits 0 when it is told to end before NATS is there", async () => {
    const { child, log, ended } = start("w0", { NATS_URL: "nats://127.0.0.1:1" });
    await log.until("nats.unreachable");
    child.kill("SIGTERM");
    expect(await ended).toMatchObject({ code: 0 });
  });

  it("says what is wrong with its environment, and exits 1", async () => {
    const { ended } = start("w0", { MILLRACE_TIMEOUT: "soon" });
    const { code, said } = await ended;
    expect(code).toBe(1);
    expect(said).toContain("MILLRACE_TIMEOUT: must be a duration");
  });
});

describe("K9: a handler that holds up the event loop", () => {
  it("keeps its message, beyond ack_wait, and another process waits for nothing", async () => {
    const { name, log } = await working({ blockMs: 5_000 });
    const other = bench.start(name, { handler: () => {} });
    await log.until("message.succeeded");
    await bench.settled(name);
    expect(log.of("handler.began")).toHaveLength(1);
    expect(log.of("message.succeeded")).toMatchObject([{ attempt: 1, delivery: 1 }]);
    expect(other.log.of("message.succeeded")).toEqual([]);
  });
});

describe("a process that is killed", () => {
  it("leaves a message that comes to another one after ack_wait, as an attempt that was nobody's fault", async () => {
    const { name, child, ended } = await working({ waitMs: 60_000 });
    child.kill("SIGKILL");
    await ended;
    const other = bench.start(name, { handler: () => {} });
    expect(await other.log.until("message.succeeded")).toMatchObject([{ attempt: 2 }]);
    await bench.settled(name);
  });
});
