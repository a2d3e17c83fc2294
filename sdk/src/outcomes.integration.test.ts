import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { LATER, WorkerBench, type WorkerPlan } from "../testing/worker-bench.ts";
import { type Context, NonRetryable, RetryLater } from "./index.ts";

let bench: WorkerBench;
let named = 0;
const NAMES = Array.from({ length: 30 }, (_, index) => `w${index}`);
beforeAll(async () => {
  bench = await WorkerBench.open(NAMES);
});
afterEach(() => bench.stopAll());
afterAll(() => bench[Symbol.asyncDispose]());

/** Each test has a worker to itself. */
const nextName = (): string => NAMES[named++] ?? "";
const started = (plan: WorkerPlan) => {
  const name = nextName();
  return { name, subject: `${name}.one`, running: bench.start(name, plan) };
};
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("a handler that returns", () => {
  it("has its message acknowledged and leaves nothing behind", async () => {
    const seen: Context<unknown>[] = [];
    const { name, subject, running } = started({ handler: (ctx) => void seen.push(ctx) });
    await bench.publish(subject, { n: 1 }, { "Nats-Msg-Id": "m-1", "X-From": "test" });
    const [line] = await running.log.until("message.succeeded");
    expect(seen[0]).toMatchObject({ id: "m-1", attempt: 1, data: { n: 1 }, subject });
    expect(seen[0]?.headers["X-From"]).toEqual(["test"]);
    expect(line).toMatchObject({ id: "m-1", worker: name, attempt: 1, delivery: 1 });
    await bench.settled(name);
    expect(await bench.lag(name)).toBe(0);
  });

  it("is given what its schema makes of the body, and raw bytes when it wants them", async () => {
    const seen: unknown[] = [];
    const schema = z.object({ url: z.string(), width: z.number().default(200) });
    const json = started({ schema, handler: ({ data }) => void seen.push(data) });
    await bench.publish(json.subject, { url: "http://a", other: 1 });
    await json.running.log.until("message.succeeded");
    const raw = started({ body: "bytes", handler: ({ data }) => void seen.push(data) });
    await bench.publish(raw.subject, bytes("no { json"));
    await raw.running.log.until("message.succeeded");
    expect(seen).toEqual([{ url: "http://a", width: 200 }, bytes("no { json")]);
  });
});

describe("a handler that throws", () => {
  it("K1, R4: has its message tried again, and leaves nothing behind when it succeeds then", async () => {
    const attempts: number[] = [];
    const { name, subject, running } = started({
      handler: ({ attempt }) => {
        attempts.push(attempt);
        if (attempt < 3) throw new Error(`no such bucket\nand the body: secret`);
      },
    });
    await bench.publish(subject, {});
    await running.log.until("message.succeeded");
    expect(attempts).toEqual([1, 2, 3]);
    expect(running.log.of("message.retried")).toMatchObject([
      { attempt: 1, class: "error", reason: "no such bucket", retryInMs: 0 },
      { attempt: 2, class: "error", reason: "no such bucket", retryInMs: 0 },
    ]);
    expect(JSON.stringify(running.log.lines)).not.toContain("secret");
    await bench.settled(name);
    expect(await bench.deadLetters(name)).toEqual([]);
  });

  it("K3: sleeps for the configured pause, as nobody's lag and nobody's message in flight", async () => {
    const { name, subject, running } = started({
      env: { MILLRACE_RETRY: LATER },
      handler: () => {
        throw new Error("not yet");
      },
    });
    await bench.publish(subject, {});
    const [line] = await running.log.until("message.retried");
    expect(Number(line?.["retryInMs"])).toBeGreaterThan(0.75 * 3_600_000);
    expect(await bench.left(name)).toEqual([`work.at.${name}.2`]);
    expect(await bench.lag(name)).toBe(0);
    expect(await bench.claimed(name)).toEqual([]);
  });

  it("K3: is called again when the pause is over, with the same body, id, subject and headers", async () => {
    const seen: Context<unknown>[] = [];
    const { subject, running } = started({
      env: { MILLRACE_RETRY: JSON.stringify({ backoff: { delays: ["300ms"] } }) },
      handler: (ctx) => {
        seen.push(ctx);
        if (ctx.attempt === 1) throw new Error("once");
      },
    });
    await bench.publish(subject, { n: 1 }, { "X-From": "Zoë" });
    await running.log.until("message.succeeded");
    const [first, second] = seen;
    expect(second).toMatchObject({ attempt: 2, id: first?.id, data: { n: 1 }, subject });
    expect(second?.headers["X-From"]).toEqual(first?.headers["X-From"]);
  });

  it("K7, K8: goes to the DLQ once when its attempts are used up, with its raw bytes and all that is known of it", async () => {
    const { name, subject, running } = started({
      handler: ({ attempt }) => {
        throw new Error(`failure ${attempt}`);
      },
    });
    await bench.publish(subject, bytes('{ "a":1 }'), { "Nats-Msg-Id": "order-1", "X-From": "test" });
    await running.log.until("message.dead");
    await bench.settled(name);
    const [entry, ...others] = await bench.deadLetters(name);
    expect(others).toEqual([]);
    expect(entry?.body).toEqual(bytes('{ "a":1 }'));
    const said = (header: string): unknown => entry?.header(header);
    expect(said(DLQ_HEADER.code)).toBe("WORK_FAILED");
    expect(said(DLQ_HEADER.id)).toBe("order-1");
    expect(said(DLQ_HEADER.queue)).toBe(name);
    expect(said(DLQ_HEADER.subject)).toBe(subject);
    expect(said(DLQ_HEADER.headers)).toMatchObject({ "X-From": ["test"], "Nats-Msg-Id": ["order-1"] });
    expect(said(DLQ_HEADER.attempt)).toBe(3);
    expect(said(DLQ_HEADER.deliveries)).toBe(3);
    expect(said(DLQ_HEADER.firstError)).toBe("attempt 1: error: failure 1");
    expect(said(DLQ_HEADER.lastError)).toBe("attempt 3: error: failure 3");
    expect(said(DLQ_HEADER.reason)).toBe("failure 3; all 3 attempts are used up");
  });

  it("K3, K4: seed 002's fifteen deliveries with pauses that grow by the same step", async () => {
    const { name, subject, running } = started({
      env: { MILLRACE_RETRY: JSON.stringify({ attempts: 15, backoff: { initial: "10ms", increment: "10ms", max: "1m" } }) },
      handler: () => {
        throw new Error("never");
      },
    });
    await bench.publish(subject, {});
    await running.log.until("message.dead");
    const pauses = running.log.of("message.retried").map(({ retryInMs }) => Number(retryInMs));
    expect(pauses).toHaveLength(14);
    for (const [index, pauseMs] of pauses.entries()) {
      const wanted = 10 * (index + 1);
      expect(pauseMs).toBeGreaterThanOrEqual(Math.floor(wanted * 0.8));
      expect(pauseMs).toBeLessThanOrEqual(Math.ceil(wanted * 1.2));
    }
    const [entry, ...others] = await bench.deadLetters(name);
    expect(others).toEqual([]);
    expect(entry?.header(DLQ_HEADER.deliveries)).toBe(15);
  });

  it("RetryLater: comes again after its own pause, burns no attempt, and is bounded by freeLimit", async () => {
    const attempts: number[] = [];
    const { name, subject, running } = started({
      env: { MILLRACE_RETRY: JSON.stringify({ attempts: 1, freeLimit: 2 }) },
      handler: ({ attempt }) => {
        attempts.push(attempt);
        throw new RetryLater(20, "the bucket is busy");
      },
    });
    await bench.publish(subject, {});
    await running.log.until("message.dead");
    expect(attempts).toEqual([1, 2, 3]);
    expect(running.log.of("message.later")).toMatchObject([{ retryInMs: 20, reason: "the bucket is busy" }, { retryInMs: 20 }]);
    expect((await bench.deadLetters(name))[0]?.header(DLQ_HEADER.class)).toBe("later");
  });

  it("NonRetryable: goes to the DLQ at first sight", async () => {
    const { name, subject, running } = started({
      handler: () => {
        throw new NonRetryable("the URL is not allowed");
      },
    });
    await bench.publish(subject, { url: "http://169.254.169.254" });
    await running.log.until("message.dead");
    await bench.settled(name);
    const [entry, ...others] = await bench.deadLetters(name);
    expect(others).toEqual([]);
    expect(entry?.header(DLQ_HEADER.reason)).toBe("the URL is not allowed");
    expect(entry?.header(DLQ_HEADER.attempt)).toBe(1);
  });

  it("fails by its timeout when it heeds the signal, which burns an attempt", async () => {
    const { subject, running } = started({
      env: { MILLRACE_TIMEOUT: "100ms" },
      handler: async ({ attempt, signal }) => {
        if (attempt > 1) return;
        await new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      },
    });
    await bench.publish(subject, {});
    await running.log.until("message.succeeded");
    expect(running.log.of("message.retried")).toMatchObject([{ class: "timeout", attempt: 1 }]);
  });
});

describe("a body that can never be handled", () => {
  it.each<[string, Uint8Array, RegExp]>([
    ["is no JSON", bytes("{nope"), /^the body is not JSON/],
    ["is no UTF-8", new Uint8Array([0x22, 0xff, 0x22]), /^the body is not valid UTF-8/],
    ["is empty", new Uint8Array(), /^the body is not JSON/],
    ["is not what the schema takes", bytes('{"url":5}'), /^url: /],
  ])("K2: %s: it goes to the DLQ at first sight, byte for byte, and no handler is called", async (_what, body, reason) => {
    const calls: unknown[] = [];
    const { name, subject, running } = started({ schema: z.object({ url: z.string() }), handler: (ctx) => void calls.push(ctx) });
    await bench.publish(subject, body);
    await running.log.until("message.dead");
    await bench.settled(name);
    const [entry, ...others] = await bench.deadLetters(name);
    expect(others).toEqual([]);
    expect(entry?.body).toEqual(body);
    expect(entry?.header(DLQ_HEADER.code)).toBe("WORK_INVALID");
    expect(entry?.header(DLQ_HEADER.reason)).toMatch(reason);
    expect(calls).toEqual([]);
  });

  it("N4: what somebody else put into WORK_RETRY is not tried", async () => {
    const calls: unknown[] = [];
    const { name, running } = started({ handler: (ctx) => void calls.push(ctx) });
    await bench.publish(`work.run.${name}.aaaaaaaaaaaaaaaaaaaa.1`, { n: 1 });
    await running.log.until("message.dead");
    expect(calls).toEqual([]);
    expect(await bench.deadLetters(name)).toHaveLength(1);
    await bench.settled(name);
  });
});

describe("ctx.publish", () => {
  it("K11: published by every attempt, a message is stored once, in the trace of the message that it follows from", async () => {
    const trace = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
    const next = nextName();
    const { name, subject, running } = started({
      handler: async ({ attempt, publish }) => {
        const one = await publish(`${next}.one`, { r2_key: "images/a.png" });
        const two = await publish(`${next}.two`, "text", { id: "thumbnail" });
        if (attempt === 1) throw new Error("after its publishes");
        expect([one.duplicate, two.duplicate]).toEqual([true, true]);
      },
    });
    await bench.publish(subject, {}, { "Nats-Msg-Id": "m-2", traceparent: trace });
    await running.log.until("message.succeeded");
    expect(await bench.left(next)).toEqual([`${next}.one`, `${next}.two`]);
    const stored = await bench.streams.store.broker.last("WORK", `${next}.one`);
    expect(JSON.parse(new TextDecoder().decode(stored?.data))).toEqual({ r2_key: "images/a.png" });
    expect(stored?.headers).toMatchObject({ "Nats-Msg-Id": [`${name}.m-2.${next}.one#1`], traceparent: [trace] });
    const other = await bench.streams.store.broker.last("WORK", `${next}.two`);
    expect(other?.headers["Nats-Msg-Id"]).toEqual([`${name}.m-2.${next}.two.thumbnail`]);
  });

  it("K11: two workers whose messages have one producer's id each publish their own", async () => {
    const next = nextName();
    const published: boolean[] = [];
    const plan: WorkerPlan = {
      handler: async ({ publish }) => void published.push((await publish(`${next}.one`, {})).duplicate),
    };
    const [one, two] = [started(plan), started(plan)];
    await bench.publish(one.subject, {}, { "Nats-Msg-Id": "m-3" });
    await one.running.log.until("message.succeeded");
    // WORK forgets the id of what is gone, as it does when its window is over, and has what was published still.
    await bench.server.restart();
    await bench.publish(two.subject, {}, { "Nats-Msg-Id": "m-3" });
    await two.running.log.until("message.succeeded");
    expect(published).toEqual([false, false]);
  });

  it("fails the attempt, with what to do, where no stream takes the subject", async () => {
    const { subject, running } = started({ handler: ({ publish }) => publish("nobody.takes.this", {}).then(() => undefined) });
    await bench.publish(subject, {});
    const [line] = await running.log.until("message.retried");
    expect(line?.["reason"]).toMatch(/^cannot publish to nobody.takes.this: .*no stream takes that subject/);
  });
});

describe("WORK_RETRY that is nearly full", () => {
  it("takes no first retries: their messages stay in WORK and none is lost; it is gone on with when there is room", async () => {
    const { manager } = bench.streams;
    const { config } = await manager.streams.info("WORK_RETRY");
    await manager.streams.update("WORK_RETRY", { ...config, max_bytes: 20_000 });
    const name = nextName();
    let calls = 0;
    const plan: WorkerPlan = {
      env: { MILLRACE_RETRY: LATER },
      handler: () => {
        calls += 1;
        throw new Error("always");
      },
    };
    const before = bench.start(name, plan);
    for (let index = 0; index < 3; index += 1) await bench.publish(`${name}.${index}`, { text: "x".repeat(5_000) });
    await bench.until(
      () => bench.lag(name),
      (lag) => lag === 0,
    );
    before.stop();
    await before.ended;
    const after = bench.start(name, plan);
    for (let index = 3; index < 6; index += 1) await bench.publish(`${name}.${index}`, { text: "x".repeat(5_000) });
    await bench.until(
      async () => after.log.of("message.unsettled").length,
      (count) => count >= 3,
    );
    const asleep = `work.at.${name}.2`;
    expect(await bench.left(name)).toEqual([`${name}.3`, `${name}.4`, `${name}.5`, asleep, asleep, asleep]);
    await manager.streams.update("WORK_RETRY", config);
    await bench.until(
      () => bench.left(name),
      (left) => left.length === 6 && left.every((one) => one === asleep),
      30_000,
    );
    expect(calls).toBe(6);
  }, 60_000);
});
