import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Consumer } from "@nats-io/jetstream";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { STREAM, workConsumerName } from "../../../libs/contract/streams.ts";
import { claimKey, endedClaim, type WorkClaim } from "../../../libs/contract/work-claim.ts";
import { silentLog } from "../../../libs/runtime/log.ts";
import { ClaimStore } from "../../../libs/streams/claims.ts";
import { replySubject } from "../../../libs/streams/messages.ts";
import { NatsTestServer } from "../../../libs/streams/testing/nats-server.ts";
import { Workbench } from "../../../libs/streams/testing/workbench.ts";
import { Heartbeats } from "./heartbeats.ts";

const ACK_WAIT_MS = 3_000;
const PROGRAM = join(import.meta.dirname, "testing", "holding-process.ts");
const WORKERS = ["blocked", "overrun", "first", "stolen", "late", "lost", "other", "restart", "again", "probed"] as const;
type WorkerName = (typeof WORKERS)[number];

interface Said {
  readonly event: string;
  readonly [field: string]: unknown;
}

let server: NatsTestServer;
let bench: Workbench;
let claims: ClaimStore;
const children = new Set<ChildProcess>();

beforeAll(async () => {
  server = await NatsTestServer.start();
  const workers = Object.fromEntries(WORKERS.map((name) => [name, { subject: name }]));
  bench = await Workbench.open(server, { queues: [], workers, ackWaitMs: ACK_WAIT_MS });
  claims = new ClaimStore({ broker: bench.store.broker });
});
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
});
afterAll(() => server[Symbol.asyncDispose]());

const consumerOf = (worker: WorkerName): Promise<Consumer> => bench.client.consumers.get(STREAM.work, workConsumerName(worker));

/** How often any message of the worker was given to anybody. */
async function deliveries(worker: WorkerName): Promise<number> {
  return (await bench.manager.consumers.info(STREAM.work, workConsumerName(worker))).delivered.consumer_seq;
}

/** A message of the worker, and a process that works on it; without `blockMs` it blocks until it is told otherwise. */
async function work(
  worker: WorkerName,
  options: { timeoutMs?: number; graceMs?: number; blockMs?: number; settleMs?: number; wrapper?: readonly string[] } = {},
) {
  await bench.client.publish(worker, "{}");
  const { wrapper = [], ...rest } = options;
  const task = {
    ...{ url: server.url, stream: STREAM.work, consumer: workConsumerName(worker), worker },
    ...{ ackWaitMs: ACK_WAIT_MS, timeoutMs: 60_000, graceMs: 60_000, settleMs: 0, ...rest },
  };
  const [command = process.execPath, ...args] = [...wrapper, process.execPath, PROGRAM, JSON.stringify(task)];
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  children.add(child);
  const exited = once(child, "exit").then(([code, signal]) => ({ code, signal }));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const hears = async (event: string): Promise<Said> => {
    for (;;) {
      const line = await lines.next();
      if (line.done === true) throw new Error(`the process ended without saying "${event}"`);
      const said = JSON.parse(line.value) as Said;
      if (said.event === event) return said;
    }
  };
  const running = await hears("running");
  const unblock = (): void => void child.stdin.write("\n");
  return { key: String(running["key"]), url: `http://127.0.0.1:${running["port"]}`, exited, hears, unblock };
}

async function get(url: string): Promise<string> {
  const answer = await fetch(url);
  return `${answer.status} ${(await answer.text()).trim()}`;
}

async function claimAt(key: string): Promise<{ claim: WorkClaim; revision: number }> {
  const { stored } = await claims.get(key);
  if (stored === undefined) throw new Error(`no claim at ${key}`);
  return stored;
}

const revisionBeyond = (key: string, revision: number) =>
  expect.poll(async () => (await claimAt(key)).revision, { timeout: 20_000 }).toBeGreaterThan(revision);

describe("a handler that holds up the event loop", () => {
  it("W1: longer than ack_wait keeps its message, and runs once; the probes say how it is", async () => {
    const { key, url, exited, hears, unblock } = await work("blocked");
    await expect.poll(() => get(`${url}/readyz`), { timeout: 10_000 }).toMatch(/^200 ok\nbusy: event loop blocked for \d+ s$/);
    expect(await get(`${url}/healthz`)).toBe("200 ok");
    expect(await get(`${url}/metrics`)).toBe("503 event loop is blocked");
    expect((await claimAt(key)).claim.overran).toBeUndefined();
    // Three for each ack_wait.
    for (let renewals = 0; renewals < 4; renewals += 1) await revisionBeyond(key, (await claimAt(key)).revision);
    unblock();
    expect(await hears("done")).toMatchObject({ isAcknowledged: true, removed: "won" });
    expect(await exited).toMatchObject({ code: 0 });
    expect(await deliveries("blocked")).toBe(1);
    expect((await claims.get(key)).stored).toBeUndefined();
  });

  it("W1: beyond its time and the grace is killed with its process, and only then is its message given to the next", async () => {
    const { key, exited, hears } = await work("overrun", { timeoutMs: 500, graceMs: ACK_WAIT_MS, blockMs: 60_000 });
    const consumer = await consumerOf("overrun");
    const next = consumer.next({ expires: 30_000 });
    const first = await Promise.race([exited.then(() => "exit"), next.then(() => "delivery")]);
    expect(first).toBe("exit");
    expect(await exited).toEqual({ code: null, signal: "SIGKILL" });
    expect(await hears("worker.killed-itself")).toMatchObject({ key, why: "timeout" });
    const { claim, revision } = await claimAt(key);
    expect(claim).toMatchObject({ overran: true, holder: { podName: "worker-1" } });
    // As the monitor does.
    await claims.swap(key, endedClaim(claim, { class: "exit", reason: "" }), revision);
    bench.connection.publish(claim.ack, "-NAK");
    expect((await next)?.info.deliveryCount).toBe(2);
    expect((await claimAt(key)).claim.ended).toMatchObject({ class: "timeout" });
  });

  it("is killed also where its process is the first of its container, to which no SIGKILL comes from within", async () => {
    const wrapper = ["unshare", ...(process.getuid?.() === 0 ? [] : ["--map-root-user"]), "--fork", "--pid", "--kill-child"];
    const { key, exited, hears } = await work("first", { timeoutMs: 500, graceMs: 500, blockMs: 60_000, wrapper });
    await exited;
    expect(await hears("worker.killed-itself")).toMatchObject({ key, why: "timeout" });
    await expect(hears("ended")).rejects.toThrow("the process ended");
    expect((await claimAt(key)).claim.overran).toBe(true);
  });

  it("W1: and has lost its claim is killed after the grace; the claim of the next is left alone", async () => {
    const { key, exited, hears } = await work("stolen", { graceMs: 500, blockMs: 60_000 });
    for (;;) {
      const { claim, revision } = await claimAt(key);
      const stolen = { ...claim, delivery: claim.delivery + 1, holder: { ...claim.holder, process: "another" } } as WorkClaim;
      const swapped = await claims.swap(key, stolen, revision);
      if (swapped.kind === "lost") continue;
      expect(await exited).toEqual({ code: null, signal: "SIGKILL" });
      expect(await hears("worker.killed-itself")).toMatchObject({ why: "leaseLost" });
      expect(await claimAt(key)).toMatchObject({ claim: stolen, revision: swapped.revision });
      break;
    }
  });
});

it("a handler that ended in time is not killed while its outcome waits for the broker, and its message is renewed", async () => {
  const { exited, hears } = await work("late", { timeoutMs: 500, graceMs: 0, blockMs: 0, settleMs: 1.5 * ACK_WAIT_MS });
  expect(await hears("done")).toMatchObject({ isAcknowledged: true, removed: "won" });
  expect(await exited).toMatchObject({ code: 0 });
  expect(await deliveries("late")).toBe(1);
});

describe("the heartbeats of a process", () => {
  const open = new Set<Heartbeats>();
  afterEach(async () => {
    for (const heartbeats of open) await heartbeats.stop();
    open.clear();
  });

  async function started(options: Partial<ConstructorParameters<typeof Heartbeats>[0]> = {}): Promise<Heartbeats> {
    const heartbeats = new Heartbeats({
      ...{ settings: { NATS_URL: server.url }, worker: "w", ackWaitMs: ACK_WAIT_MS, httpPort: 0, log: silentLog },
      ...{ metrics: () => Promise.resolve("of_main 1\n"), onLost: () => {} },
      ...options,
    });
    open.add(heartbeats);
    await heartbeats.start();
    return heartbeats;
  }

  /** A message that this process took, and holds. */
  async function held(heartbeats: Heartbeats, worker: WorkerName) {
    await bench.client.publish(worker, "{}");
    const message = await (await consumerOf(worker)).next();
    if (message === null) throw new Error("nothing was delivered");
    const ack = replySubject(message);
    const key = claimKey(STREAM.work, workConsumerName(worker), message.seq);
    const holder = { pod: "pod-2", podName: "worker-2", process: "this", bootedAtMs: Date.now() };
    const claim: WorkClaim = { worker, holder, delivery: 1, ack, failures: 0, free: 0 };
    const swapped = await claims.swap(key, claim, 0);
    if (swapped.kind === "lost") throw new Error("the claim was not free");
    const renewals = bench.connection.subscribe(ack);
    heartbeats.hold({ key, ack, claim, revision: swapped.revision, deadlineMs: Date.now() + 600_000 });
    return { key, claim, revision: swapped.revision, renewals };
  }

  it("W1: a claim that somebody else wrote is told once as lost, and its message is renewed no more", async () => {
    const { promise: lost, resolve } = Promise.withResolvers<string>();
    const heartbeats = await started({ onLost: resolve });
    const { key, claim, revision, renewals } = await held(heartbeats, "lost");
    await revisionBeyond(key, revision);
    const { revision: last } = await claimAt(key);
    await claims.swap(key, { ...claim, delivery: 2 }, last);
    expect(await lost).toBe(key);
    const renewedBefore = renewals.getReceived();
    expect(renewedBefore).toBeGreaterThan(0);
    expect(await heartbeats.release(key)).toBeUndefined();
    // By another message that is renewed meanwhile.
    const other = await held(heartbeats, "other");
    await revisionBeyond(other.key, other.revision);
    expect(renewals.getReceived()).toBe(renewedBefore);
  });

  it("renewals go on when nats-server is restarted, at the revision that stands there", async () => {
    const onLost: string[] = [];
    const heartbeats = await started({ onLost: (key) => onLost.push(key) });
    heartbeats.setReadiness({ ready: true });
    const { key, revision } = await held(heartbeats, "restart");
    await revisionBeyond(key, revision);
    await server.kill();
    const url = `http://127.0.0.1:${heartbeats.port}`;
    await expect.poll(() => get(`${url}/readyz`), { timeout: 10_000 }).toMatch(/^503 broker: not connected for \d s$/);
    await expect.poll(() => get(`${url}/readyz`), { timeout: 10_000 }).toMatch(/\nleases: 1 not renewed /);
    expect(await get(`${url}/healthz`)).toBe("200 ok");
    await server.restart();
    await revisionBeyond(key, (await claimAt(key)).revision);
    const released = await heartbeats.release(key);
    expect(released).toEqual({ revision: (await claimAt(key)).revision });
    expect(onLost).toEqual([]);
    expect(await get(`${url}/readyz`)).toBe("200 ok");
  });

  it("a thread that dies is started again on its port, and renews what is held", async () => {
    const { promise: failed, resolve } = Promise.withResolvers<void>();
    const log = { ...silentLog, error: (event: string) => event === "heartbeat.failed" && resolve() };
    const env = { MILLRACE_HEARTBEAT_THREAD: join(import.meta.dirname, "testing", "dying-thread.ts") };
    const heartbeats = await started({ log, env });
    const { port } = heartbeats;
    const { key } = await held(heartbeats, "again");
    await failed;
    await revisionBeyond(key, (await claimAt(key)).revision);
    expect(heartbeats.port).toBe(port);
    await heartbeats.stop();
    await expect(heartbeats.release(key)).resolves.toBeDefined();
  });

  it("probes: not ready with the reason, ready, the main thread's metrics, and gone when it stops", async () => {
    const heartbeats = await started();
    const url = `http://127.0.0.1:${heartbeats.port}`;
    await expect.poll(() => get(`${url}/readyz`)).toBe("503 worker: starting");
    heartbeats.setReadiness({ ready: true });
    await expect.poll(() => get(`${url}/readyz`)).toBe("200 ok");
    expect(await get(`${url}/metrics`)).toBe("200 of_main 1");
    heartbeats.setReadiness({ ready: false, problem: "draining" });
    await expect.poll(() => get(`${url}/readyz`)).toBe("503 worker: draining");
    expect(await get(`${url}/healthz`)).toBe("200 ok");
    await heartbeats.stop();
    await expect(get(`${url}/healthz`)).rejects.toThrow();
  });

  it("a port in use is an error of the start", async () => {
    const { port } = await started();
    await expect(started({ httpPort: port })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });
});
