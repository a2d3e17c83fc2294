import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { STREAM, workConsumerName } from "../../libs/contract/streams.ts";
import { Gate } from "../testing/gate.ts";
import { WorkerBench } from "../testing/worker-bench.ts";

/** What is lost is lost for so long: longer than any test. */
const ACK_WAIT_MS = 120_000;
let bench: WorkerBench;
let named = 0;
const NAMES = Array.from({ length: 12 }, (_, index) => `w${index}`);
beforeAll(async () => {
  bench = await WorkerBench.open(NAMES, ACK_WAIT_MS);
});
afterEach(() => bench.stopAll());
afterAll(() => bench[Symbol.asyncDispose]());

const nextName = (): string => NAMES[named++] ?? "";
const publish = async (name: string, count: number): Promise<void> => {
  for (let number = 0; number < count; number += 1) await bench.publish(`${name}.one`, { number });
};
const concurrency = (count: number) => ({ MILLRACE_CONCURRENCY: String(count) });

/** Both requests of an idle worker wait at the broker. */
const waiting = (name: string): Promise<number[]> =>
  bench.until(
    () =>
      Promise.all(
        [STREAM.work, STREAM.workRetry].map(
          async (stream) => (await bench.streams.manager.consumers.info(stream, workConsumerName(name))).num_waiting,
        ),
      ),
    (counts) => counts.every((count) => count > 0),
  );

describe("K6: concurrency", () => {
  it("is as many handlers at once, and no more messages than those are taken from others", async () => {
    const name = nextName();
    const gate = new Gate();
    await publish(name, 6);
    const one = bench.start(name, { env: concurrency(4), handler: () => gate.pass() });
    await gate.reached(4);
    const { num_pending, num_ack_pending } = await bench.streams.manager.consumers.info(STREAM.work, workConsumerName(name));
    expect({ num_pending, num_ack_pending }).toEqual({ num_pending: 2, num_ack_pending: 4 });
    const other = bench.start(name, { env: concurrency(4), handler: () => gate.pass() });
    await gate.reached(6);
    gate.open();
    await one.log.until("message.succeeded", 4);
    await other.log.until("message.succeeded", 2);
    await bench.settled(name);
    expect(gate.entered).toBe(6);
  });

  it("is shared: two processes handle every message once", async () => {
    const name = nextName();
    const seen: number[] = [];
    const handler = ({ data }: { readonly data: unknown }): void => void seen.push((data as { number: number }).number);
    const running = [0, 1].map(() => bench.start(name, { env: concurrency(3), handler }));
    await publish(name, 60);
    await bench.settled(name);
    expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, number) => number));
    for (const { log } of running) expect(log.of("message.succeeded").length).toBeGreaterThan(0);
  });
});

describe("a worker that handles one message at a time", () => {
  it("is given a retry while it waits for what is new, and what is new while it waits for retries", async () => {
    const name = nextName();
    const attempts: number[] = [];
    const running = bench.start(name, {
      // A test that waited for the end of a request would not end in time.
      requestMs: 60_000,
      env: { MILLRACE_RETRY: JSON.stringify({ backoff: { delays: ["200ms"] } }) },
      handler: ({ attempt }) => {
        attempts.push(attempt);
        if (attempt === 1) throw new Error("once");
      },
    });
    await waiting(name);
    for (const round of [1, 2]) {
      await publish(name, 1);
      await running.log.until("message.succeeded", round);
    }
    expect(attempts).toEqual([1, 2, 1, 2]);
    running.force();
  });

  it("takes what is due again before what is new", async () => {
    const name = nextName();
    const order: string[] = [];
    const gate = new Gate();
    const running = bench.start(name, {
      handler: async ({ attempt, subject }) => {
        order.push(`${subject} ${attempt}`);
        if (subject.endsWith("gate")) await gate.pass();
        else if (attempt === 1) throw new Error("once");
      },
    });
    await bench.publish(`${name}.fails`, {});
    await bench.publish(`${name}.gate`, {});
    await bench.publish(`${name}.new`, {});
    await bench.until(
      async () => order,
      (seen) => seen.length === 3 || seen.includes(`${name}.gate 1`),
    );
    gate.open();
    await bench.settled(name);
    expect(order.slice(0, 2)).toEqual([`${name}.fails 1`, `${name}.fails 2`]);
    expect(running.log.of("message.succeeded")).toHaveLength(3);
  });

  it("hands back at once what it has no room for, and another has it; it costs nothing", async () => {
    const name = nextName();
    const gate = new Gate();
    const busy = bench.start(name, {
      requestMs: 60_000,
      env: { MILLRACE_RETRY: JSON.stringify({ backoff: { delays: ["400ms"] } }) },
      handler: async ({ attempt, subject }) => {
        if (subject.endsWith("gate")) await gate.pass();
        else if (attempt === 1) throw new Error("once");
      },
    });
    await bench.publish(`${name}.fails`, {});
    await busy.log.until("message.retried");
    // It waits for retries, too, when it is given this one.
    await waiting(name);
    await bench.publish(`${name}.gate`, {});
    await gate.reached();
    const surplus = async (): Promise<string> => {
      const text = await (await fetch(`${busy.url}/metrics`)).text();
      return /millrace_worker_surplus_total\S* (\d+)/.exec(text)?.[1] ?? "";
    };
    await bench.until(surplus, (count) => count === "1");
    const other = bench.start(name, { handler: () => {} });
    const [line] = await other.log.until("message.succeeded");
    expect(line).toMatchObject({ attempt: 2 });
    gate.open();
    await bench.settled(name);
    busy.force();
  });
});

describe("an end of the process", () => {
  it("loses nothing that is on its way to it: whatever comes while its requests end goes to others at once", async () => {
    const name = nextName();
    const leaving = bench.start(name, { requestMs: 1_500, env: concurrency(4), handler: () => {} });
    await waiting(name);
    leaving.stop();
    await leaving.log.until("worker.draining");
    await publish(name, 10);
    const other = bench.start(name, { env: concurrency(4), handler: () => {} });
    await leaving.ended;
    await other.log.until("message.succeeded", 10);
    await bench.settled(name);
    expect(leaving.log.of("message.succeeded")).toEqual([]);
  });

  it("waits for what is in flight, which counts", async () => {
    const name = nextName();
    const gate = new Gate();
    const running = bench.start(name, { handler: () => gate.pass() });
    await publish(name, 1);
    await gate.reached();
    running.stop();
    await running.log.until("worker.draining");
    expect(running.process.problem()).toBe("draining");
    gate.open();
    await running.ended;
    expect(running.log.of("message.succeeded")).toHaveLength(1);
    await bench.settled(name);
  });

  it.each([
    ["heeds its signal", true],
    ["goes on", false],
  ])(
    "K10: after the grace period, a handler that %s has its message handed back; the next one makes the same attempt",
    async (_what, heeds) => {
      const name = nextName();
      const gate = new Gate();
      const running = bench.start(name, {
        env: { MILLRACE_GRACE: "50ms" },
        handler: async ({ signal }) => {
          if (!heeds) return gate.pass();
          gate.open();
          await gate.pass();
          await new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
        },
      });
      await publish(name, 1);
      await gate.reached();
      running.stop();
      await running.ended;
      expect(running.log.of("message.handed-back")).toMatchObject([{ attempt: 1 }]);
      expect((await bench.claimOf(name)).claim).toMatchObject({ failures: 0, free: 0 });
      expect((await bench.claimOf(name)).claim).not.toHaveProperty("holder");
      const other = bench.start(name, { handler: () => {} });
      expect(await other.log.until("message.succeeded")).toMatchObject([{ attempt: 1, delivery: 2 }]);
      await bench.settled(name);
      gate.open();
    },
  );

  it("that is forced hands back at once", async () => {
    const name = nextName();
    const gate = new Gate();
    const running = bench.start(name, { requestMs: 60_000, handler: () => gate.pass() });
    await publish(name, 1);
    await gate.reached();
    running.stop();
    running.force();
    await running.ended;
    expect(running.log.of("message.handed-back")).toMatchObject([{ attempt: 1 }]);
    const other = bench.start(name, { handler: () => {} });
    await other.log.until("message.succeeded");
    gate.open();
  });
});
