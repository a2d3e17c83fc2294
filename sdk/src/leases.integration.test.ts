import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { ClaimHolder } from "../../libs/contract/work-claim.ts";
import { Gate } from "../testing/gate.ts";
import { silent } from "../testing/held-up-broker.ts";
import { WorkerBench, type WorkerPlan } from "../testing/worker-bench.ts";
import { LeaseLost } from "./index.ts";

/** Its leases last for 2.4 s, and are renewed each second: time enough on a machine that does other work, too. */
const ACK_WAIT_MS = 3_000;
let bench: WorkerBench;
let named = 0;
const NAMES = Array.from({ length: 30 }, (_, index) => `w${index}`);
beforeAll(async () => {
  bench = await WorkerBench.open(NAMES, ACK_WAIT_MS);
});
afterEach(() => bench.stopAll());
afterAll(() => bench[Symbol.asyncDispose]());

/** A worker to itself, whose handler waits at a gate. */
async function holding(plan: Partial<WorkerPlan> = {}, on = bench, name = NAMES[named++] ?? "") {
  const gate = new Gate();
  const running = on.start(name, { handler: () => gate.pass(), ...plan });
  await on.publish(`${name}.one`, {});
  await gate.reached();
  return { name, gate, running };
}

const somebody: ClaimHolder = { pod: "other", podName: "other", process: "other-1", bootedAtMs: 1 };

describe("K5: a handler that takes longer than ack_wait", () => {
  it("is called once: its message is renewed, and so is its claim", async () => {
    const { name, gate, running } = await holding({ env: { MILLRACE_CONCURRENCY: "2" } });
    await bench.renewed(name, 5);
    gate.open();
    await running.log.until("message.succeeded");
    await bench.settled(name);
    expect(gate.entered).toBe(1);
    expect(running.log.of("message.succeeded")).toMatchObject([{ attempt: 1, delivery: 1 }]);
  });
});

describe("W1: a message that is delivered again while it is worked on", () => {
  it("is left alone by the process that holds it", async () => {
    const { name, gate, running } = await holding({ env: { MILLRACE_CONCURRENCY: "2" } });
    await bench.deliverAgain(name);
    await running.log.until("message.left");
    gate.open();
    await running.log.until("message.succeeded");
    await bench.settled(name);
    expect(gate.entered).toBe(1);
  });

  it("is left alone by another pod", async () => {
    const { name, gate, running } = await holding();
    const other = bench.start(name, { handler: () => gate.pass() });
    await other.log.until("worker.started");
    await bench.deliverAgain(name);
    const [line] = await other.log.until("message.left");
    expect(line?.["why"]).toMatch(/^pod .* holds it$/);
    gate.open();
    await running.log.until("message.succeeded");
    await bench.settled(name);
    expect(gate.entered).toBe(1);
  });

  it("stays another's when its claim was taken away: the handler is told, may publish nothing, and its end counts no more", async () => {
    const publishes: unknown[] = [];
    const reasons: unknown[] = [];
    const name = NAMES[named++] ?? "";
    const running = bench.start(name, {
      handler: async ({ signal, publish }) => {
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        reasons.push(signal.reason);
        publishes.push(await publish(`${NAMES[0]}.x`, {}).catch((error: unknown) => error));
      },
    });
    await bench.publish(`${name}.one`, {});
    await bench.stolen(name, somebody);
    // It would be given the message again, which nobody works on.
    running.stop();
    await running.log.until("message.lost");
    expect(reasons).toEqual([expect.any(LeaseLost)]);
    expect(publishes).toEqual([expect.objectContaining({ code: "LEASE_LOST" })]);
    expect((await bench.claimOf(name)).claim.holder).toEqual(somebody);
    expect(await bench.left(name)).toEqual([`${name}.one`]);
  });
});

describe("NATS", () => {
  it("is restarted while a handler works: it is called once", async () => {
    const { name, gate, running } = await holding({ env: { MILLRACE_CONCURRENCY: "2" } });
    const before = await bench.claimOf(name);
    await bench.server.restart();
    await bench.until(
      () => bench.claimOf(name),
      ({ revision }) => revision > before.revision + 1,
    );
    await bench.deliverAgain(name);
    await running.log.until("message.left");
    gate.open();
    await running.log.until("message.succeeded");
    await bench.settled(name);
    expect(gate.entered).toBe(1);
  });

  it("is away when a handler ends: its end is kept until it can be told, and it is not called again", async () => {
    const ended: string[] = [];
    const succeeded = await holding({ env: { MILLRACE_CONCURRENCY: "2" } });
    const failing = new Gate();
    const name = NAMES[named++] ?? "";
    const failed = bench.start(name, {
      handler: async ({ attempt }) => {
        ended.push(`attempt ${attempt}`);
        if (attempt > 1) return;
        await failing.pass();
        throw new Error("while NATS is away");
      },
    });
    await bench.publish(`${name}.one`, {});
    await failing.reached();
    await bench.server.kill();
    succeeded.gate.open();
    failing.open();
    await Promise.all([succeeded.running.log.until("message.unsettled"), failed.log.until("message.unsettled")]);
    await bench.server.restart();
    await Promise.all([succeeded.running.log.until("message.succeeded"), failed.log.until("message.succeeded")]);
    await bench.settled(succeeded.name);
    await bench.settled(name);
    expect(succeeded.gate.entered).toBe(1);
    expect(ended).toEqual(["attempt 1", "attempt 2"]);
  });
});

describe("W1: NATS that is away for longer than ack_wait", () => {
  /** Two dozen threads come back to it, each when it likes, and are to have renewed before anybody believes that they are gone. */
  const longMs = 3 * ACK_WAIT_MS;
  let patient: WorkerBench;
  beforeAll(async () => {
    patient = await WorkerBench.open(NAMES, longMs);
  });
  afterAll(() => patient[Symbol.asyncDispose]());

  it("gives nobody what another one works on: no lease could be renewed", async () => {
    const gates = await Promise.all(
      NAMES.slice(0, 12).map(async (name) => {
        const { gate } = await holding({}, patient, name);
        const other = patient.start(name, { handler: () => gate.pass() });
        await other.log.until("worker.started");
        return { gate, other };
      }),
    );
    await patient.server.kill();
    // Only time makes a lease old, and shows that nobody took one.
    await new Promise((resolve) => setTimeout(resolve, longMs));
    await patient.server.restart();
    await Promise.race(gates.map(({ other }) => other.log.until("message.left")));
    await new Promise((resolve) => setTimeout(resolve, longMs));
    expect(gates.map(({ gate }) => gate.entered)).toEqual(gates.map(() => 1));
    for (const { gate } of gates) gate.open();
    await patient.stopAll();
  }, 120_000);
});

describe("W1: JetStream that does not answer for longer than ack_wait, while NATS itself stays connected", () => {
  it("gives nobody what another one works on", async () => {
    // Without its second thread it renews nothing, as if it could not.
    const { name, gate, running } = await holding({ isLight: true });
    let isSilent = true;
    const other = bench.start(name, { broker: silent(() => isSilent), handler: () => gate.pass() });
    await other.log.until("message.not-claimed");
    isSilent = false;
    const [line] = await other.log.until("message.left");
    expect(line?.["why"]).toMatch(/^pod .* holds it$/);
    gate.open();
    await running.log.until("message.succeeded");
    await bench.settled(name);
    expect(gate.entered).toBe(1);
  });
});

describe("S1: a claim of a stream that was made anew", () => {
  it("is not that of the message that has its sequence now", async () => {
    const name = NAMES[named++] ?? "";
    const seq = await bench.publish(`${name}.one`, {});
    const key = `WORK.worker-${name}.${seq}`;
    const ended = { class: "nonRetryable", reason: "never" } as const;
    const ack = `$JS.ACK.WORK.worker-${name}.1.${seq}.1.1700000000000000000.0`;
    await bench.claims.swap(key, { worker: name, delivery: 1, ack, failures: 0, free: 0, ended, settling: true }, 0);
    const running = bench.start(name, { handler: () => {} });
    await running.log.until("message.succeeded");
    await bench.settled(name);
    expect(await bench.deadLetters(name)).toEqual([]);
  });
});

describe("K12: consumers", () => {
  const probe = async (url: string): Promise<{ status: number; text: string }> => {
    const answer = await fetch(`${url}/readyz`);
    return { status: answer.status, text: await answer.text() };
  };

  it("that are missing are never made up: the worker says what is to be done, and begins when they are there", async () => {
    const name = "unknown-yet";
    const running = bench.start(name, { handler: () => {} });
    const [line] = await running.log.until("worker.unready");
    expect(line?.["problem"]).toMatch(/^consumer worker-unknown-yet on WORK_RETRY is not there: .*workers\.unknown-yet$/);
    const unready = await bench.until(
      () => probe(running.url),
      ({ text }) => text.includes("worker-unknown-yet"),
    );
    expect(unready.status).toBe(503);
    await expect(bench.lag(name)).rejects.toThrow("consumer not found");
    await bench.provision([...NAMES, name]);
    await bench.publish(`${name}.one`, {});
    await running.log.until("message.succeeded");
    await bench.until(
      () => probe(running.url),
      ({ status }) => status === 200,
    );
  });

  it("with another ack_wait are not used: their messages would be given away while they are worked on", async () => {
    const name = NAMES[named++] ?? "";
    const running = bench.start(name, { handler: () => {}, env: { ACK_WAIT: "60s" } });
    const [line] = await running.log.until("worker.unready");
    expect(line?.["problem"]).toMatch(/has an ack_wait of 3 s, and ACK_WAIT is 60 s/);
  });

  it("that are removed while the worker runs make it unready", async () => {
    const name = NAMES[named++] ?? "";
    const running = bench.start(name, { handler: () => {} });
    await running.log.until("worker.started");
    await bench.until(
      async () => running.process.problem(),
      (problem) => problem === undefined,
    );
    await bench.streams.manager.consumers.delete("WORK", `worker-${name}`);
    await running.log.until("worker.unready");
    await bench.provision(NAMES);
    await bench.publish(`${name}.one`, {});
    await running.log.until("message.succeeded");
  });
});
