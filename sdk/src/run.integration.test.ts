import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Program, type Task } from "../testing/program.ts";
import { WorkerBench } from "../testing/worker-bench.ts";

const ACK_WAIT_MS = 3_000;
const NAMES = Array.from({ length: 10 }, (_, index) => `w${index}`);
let bench: WorkerBench;
let named = 0;
const programs = new Set<Program>();
beforeAll(async () => {
  bench = await WorkerBench.open(NAMES, ACK_WAIT_MS);
});
afterEach(async () => {
  for (const program of programs) program[Symbol.dispose]();
  programs.clear();
  await bench.stopAll();
});
afterAll(() => bench[Symbol.asyncDispose]());

const nextName = (): string => NAMES[named++] ?? "";

function start(name: string, env: NodeJS.ProcessEnv = {}): Program {
  const program = new Program({ NATS_URL: bench.server.url, MILLRACE_WORKER: name, ACK_WAIT: `${ACK_WAIT_MS}ms`, ...env });
  programs.add(program);
  return program;
}

async function working(task: Task, env: NodeJS.ProcessEnv = {}): Promise<{ readonly name: string; readonly program: Program }> {
  const name = nextName();
  const program = start(name, env);
  await bench.publish(`${name}.one`, task);
  await program.log.until("handler.began");
  return { program, name };
}

describe("a worker's process", () => {
  it("K10: ends what is in flight when it is told to end, and exits 0", async () => {
    const { name, program } = await working({ waitMs: 1_000 });
    program.child.kill("SIGTERM");
    expect(await program.ended).toMatchObject({ code: 0 });
    expect(program.log.of("message.succeeded")).toMatchObject([{ attempt: 1, level: "info", service: name, worker: name }]);
    await bench.settled(name);
  });

  it("K10: a signal that comes with the first one is the same one, sent to the whole group, and forces nothing", async () => {
    const { name, program } = await working({ waitMs: 1_000 });
    // Both wait for it when it looks, however slow it is.
    for (const signal of ["SIGTERM", "SIGINT"] as const) program.child.kill(signal);
    expect(await program.ended).toMatchObject({ code: 0 });
    expect(program.log.of("message.handed-back")).toEqual([]);
    expect(program.log.of("message.succeeded")).toMatchObject([{ attempt: 1 }]);
    await bench.settled(name);
  });

  it("K10: hands back at once at a later signal, and exits 1; the next one makes the same attempt", async () => {
    const { name, program } = await working({ waitMs: 60_000 });
    program.child.kill("SIGTERM");
    await program.log.until("worker.draining");
    const again = setInterval(() => program.child.kill("SIGTERM"), 200);
    expect(await program.ended).toMatchObject({ code: 1 });
    clearInterval(again);
    expect(program.log.of("message.handed-back")).toHaveLength(1);
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
  it("keeps its message, beyond ack_wait; another process takes the others, and waits for nothing", async () => {
    const { name, program } = await working({ blocks: true });
    const other = bench.start(name, { handler: () => {} });
    await bench.publish(`${name}.two`, {});
    await other.log.until("message.succeeded");
    await bench.renewed(name, 4);
    expect(program.log.of("handler.ended")).toEqual([]);
    program.unblock();
    await program.log.until("message.succeeded");
    await bench.settled(name);
    expect(program.log.of("handler.began")).toHaveLength(1);
    expect(program.log.of("message.succeeded")).toMatchObject([{ attempt: 1, delivery: 1 }]);
    expect(other.log.of("message.succeeded")).toHaveLength(1);
  });

  it("W1: of a process with several slots: no message is worked on by two, nor twice", async () => {
    const name = nextName();
    for (let index = 0; index < 4; index += 1) await bench.publish(`${name}.${index}`, { blocks: true });
    const program = start(name, { MILLRACE_CONCURRENCY: "4" });
    await program.log.until("handler.began");
    // What the blocked process was given, too, and knows nothing of yet.
    const seen: string[] = [];
    const other = bench.start(name, {
      env: { MILLRACE_CONCURRENCY: "4" },
      handler: ({ subject }) => void seen.push(subject),
    });
    await other.log.until("message.succeeded", 3);
    for (let index = 0; index < 4; index += 1) program.unblock();
    await program.log.until("message.succeeded");
    await bench.settled(name);
    const began = program.log.of("handler.began").map(({ subject }) => subject);
    expect([...began, ...seen].toSorted()).toEqual([0, 1, 2, 3].map((index) => `${name}.${index}`));
  });
});

describe("a process that is killed", () => {
  it("leaves a message that comes to another one after ack_wait, as an attempt that was nobody's fault", async () => {
    const { name, program } = await working({ waitMs: 60_000 });
    program.child.kill("SIGKILL");
    await program.ended;
    const other = bench.start(name, { handler: () => {} });
    expect(await other.log.until("message.succeeded")).toMatchObject([{ attempt: 2 }]);
    await bench.settled(name);
  });
});
