import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { jobHash, messageHash } from "../contract/names.ts";
import type { JobRecord } from "../contract/record.ts";
import type { RecordEvent } from "../contract/record-event.ts";
import type { RetryPolicy } from "../contract/retry.ts";
import { STREAM } from "../contract/streams.ts";
import type { Ended } from "../contract/verdict.ts";
import type { JobTarget } from "./job-actions.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
import { DUE_NOW, NEVER_AGAIN, ONE_HOUR_LATER } from "./testing/policies.ts";
import { INSTANCE, Workbench } from "./testing/workbench.ts";

const QUEUE = "default";
const at = new Date().toISOString();
const success: Ended = { kind: "succeeded", endedAt: at, result: "42" };
const failure: Ended = { kind: "failed", class: "exit", reason: "exited with code 3", exitCode: 3, endedAt: at };
const stopped: Ended = { kind: "cancelled", reason: "cancelled by ann", endedAt: at };

let server: NatsTestServer;
let bench: Workbench;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: [QUEUE] });
});
afterAll(() => server[Symbol.asyncDispose]());

const target = (id: string): JobTarget => ({ id, hash: jobHash(INSTANCE, QUEUE, id), queue: QUEUE });
const kept = (id: string): Promise<string[]> => bench.kept(QUEUE, target(id).hash);
const cancel = (id: string) => bench.store.actions.cancel(target(id), "cancelled by ann");
const rerun = (id: string) => bench.store.actions.rerun(target(id), "run again by ann");

async function recordOf(id: string): Promise<JobRecord> {
  const stored = await bench.store.records.get(target(id).hash);
  if (stored === undefined) throw new Error(`there is no record of ${id}`);
  return stored.record;
}

async function end(id: string, verdict: Ended, policy: RetryPolicy, ack?: string): Promise<void> {
  const { hash, attempt, job } = await recordOf(id);
  const event: RecordEvent = { kind: "attemptEnded", attempt, uid: job?.uid ?? "", verdict, policy, at };
  expect(await bench.store.settler.settle(hash, event, ack)).toMatchObject({ kind: "settled" });
}

/** A job whose first attempt ended like this. */
async function ended(id: string, verdict: Ended, policy: RetryPolicy = NEVER_AGAIN): Promise<void> {
  const { ack } = await bench.running(QUEUE, id);
  await end(id, verdict, policy, ack);
}

/** The due retry of the job is pulled, and the monitor sees the Job that was made of it. */
async function secondAttempt(id: string): Promise<{ readonly body: string; readonly ack: string }> {
  const { message, source, ack } = await bench.one(QUEUE, STREAM.retry);
  const { hash, type, messageHash: bytes, life, next } = await recordOf(id);
  expect(message.subject).toBe(`retry.run.${QUEUE}.${hash}.${next?.attempt}`);
  const of = { ...target(id), type, messageHash: bytes, source, attempt: next?.attempt ?? 0, life, at };
  const job = { namespace: "jobs", name: `hello-${hash}-a2`, uid: `uid-${id}-2` };
  expect(await bench.store.settler.settle(hash, { kind: "firstSight", ...of, job }, undefined)).toMatchObject({ first: true });
  return { body: message.string(), ack };
}

describe("P1: cancel", () => {
  it("what nobody has heard of gets a tombstone, and its first message is kept and never run", async () => {
    expect(await cancel("early")).toMatchObject({ kind: "cancelled", record: { messageHash: "", attempt: 0 } });
    expect(await cancel("early")).toMatchObject({ kind: "already" });
    expect(await kept("early")).toEqual(["event 0.cancelled"]);
    const body = JSON.stringify({ id: "early", template: "hello" });
    await bench.publish(QUEUE, body);
    const { source, ack } = await bench.one(QUEUE);
    const adoption = { type: "hello", messageHash: messageHash(new TextEncoder().encode(body)), source, at };
    await bench.store.settler.settle(target("early").hash, { kind: "adopted", ...adoption }, ack);
    expect(await bench.holds(source)).toBe(false);
    expect(await cancel("early")).toMatchObject({ kind: "already" });
    expect(await kept("early")).toEqual(["event 0.cancelled", "event 1.received"]);
  });

  it("what sleeps never wakes", async () => {
    await ended("sleeping", failure, ONE_HOUR_LATER);
    expect(await kept("sleeping")).toContain("at 2");
    expect(await cancel("sleeping")).toMatchObject({ kind: "cancelled", record: { state: "cancelled", attempt: 2 } });
    expect(await cancel("sleeping")).toMatchObject({ kind: "already" });
    expect(await kept("sleeping")).toEqual(["event 1.created", "event 1.retrying", "event 2.cancelled"]);
  });

  it("what runs is left to the Stop: nothing is written", async () => {
    const { record, source } = await bench.running(QUEUE, "running");
    expect(await cancel("running")).toEqual({ kind: "running", record, job: record.job });
    expect(await recordOf("running")).toEqual(record);
    expect(await bench.holds(source)).toBe(true);
    expect(await kept("running")).toEqual([]);
  });

  it.each([
    ["succeeded", success],
    ["dead", failure],
  ] as const)("what has %s is not cancelled any more", async (state, verdict) => {
    await ended(`over-${state}`, verdict);
    const before = await kept(`over-${state}`);
    expect(await cancel(`over-${state}`)).toEqual({ kind: "refused", why: `it has ended: ${state}` });
    expect(await kept(`over-${state}`)).toEqual(before);
  });

  it("I7: asked for by ten at once it is one cancel with one event", async () => {
    await ended("ten", failure, ONE_HOUR_LATER);
    const outcomes = await Promise.all(Array.from({ length: 10 }, () => cancel("ten")));
    expect(outcomes.filter(({ kind }) => kind === "cancelled")).toHaveLength(1);
    expect(outcomes.filter(({ kind }) => kind === "already")).toHaveLength(9);
    expect(await kept("ten")).toEqual(["event 1.created", "event 1.retrying", "event 2.cancelled"]);
  });

  it("a due retry that nobody has pulled yet is left to rule D6", async () => {
    await ended("due", failure, DUE_NOW);
    expect(await cancel("due")).toMatchObject({ kind: "cancelled" });
    expect(await kept("due")).toEqual(["due 2", "event 1.created", "event 1.retrying", "event 2.cancelled"]);
    await bench.manager.streams.purge(STREAM.retry, { filter: "retry.run.>" });
  });
});

describe("P2, P3: another life", () => {
  it.each([
    ["succeeded", success],
    ["dead", failure],
    ["cancelled", stopped],
  ] as const)("of what has %s is due at once, with the same bytes, and ends like any other", async (state, verdict) => {
    const id = `again-${state}`;
    await ended(id, verdict);
    const before = await kept(id);
    expect(await rerun(id)).toMatchObject({ kind: "scheduled", record: { state: "retrying", life: 2, budgetFrom: 2 } });
    expect(await kept(id)).toEqual([...before, "due 2", "event 2.received"].toSorted());
    const { body, ack } = await secondAttempt(id);
    expect(body).toBe(JSON.stringify({ id, template: "hello" }));
    await end(id, success, NEVER_AGAIN, ack);
    expect(await kept(id)).toEqual([...before, "event 2.created", "event 2.received", "event 2.succeeded"].toSorted());
    expect(await recordOf(id)).toMatchObject({ state: "succeeded", attempt: 2, life: 2, result: "42" });
  });

  it("has a budget of its own, and I4: an entry of its own in the DLQ", async () => {
    await ended("twice-dead", failure);
    await rerun("twice-dead");
    const { ack } = await secondAttempt("twice-dead");
    await end("twice-dead", failure, NEVER_AGAIN, ack);
    const entries = (await kept("twice-dead")).filter((entry) => entry.startsWith("dlq"));
    expect(entries).toEqual(["dlq 1", "dlq 2"]);
    expect(await recordOf("twice-dead")).toMatchObject({ state: "dead", reason: "exited with code 3; its only attempt" });
  });

  it("of a life that never had an attempt: the bytes are those of the life before", async () => {
    await ended("untried", success);
    await rerun("untried");
    await cancel("untried");
    await bench.manager.streams.purge(STREAM.retry, { filter: "retry.run.>" });
    expect(await rerun("untried")).toMatchObject({ kind: "scheduled", record: { life: 3, budgetFrom: 3, next: { attempt: 3 } } });
    const { body } = await secondAttempt("untried");
    expect(body).toBe(JSON.stringify({ id: "untried", template: "hello" }));
  });

  it("of what was cancelled before it was pulled runs what was kept of it", async () => {
    await cancel("early-again");
    expect(await rerun("early-again")).toMatchObject({ kind: "refused" });
    const body = JSON.stringify({ id: "early-again", template: "hello" });
    await bench.publish(QUEUE, body);
    const { source, ack } = await bench.one(QUEUE);
    const adoption = { type: "hello", messageHash: messageHash(new TextEncoder().encode(body)), source, at };
    await bench.store.settler.settle(target("early-again").hash, { kind: "adopted", ...adoption }, ack);
    expect(await rerun("early-again")).toMatchObject({ kind: "scheduled" });
    expect((await secondAttempt("early-again")).body).toBe(body);
  });

  it("asked for again before it began it is the same life; asked for by ten at once too", async () => {
    await ended("ten-lives", success);
    const outcomes = await Promise.all(Array.from({ length: 10 }, () => rerun("ten-lives")));
    for (const outcome of outcomes) expect(outcome).toMatchObject({ kind: "scheduled", record: { life: 2 } });
    expect(await rerun("ten-lives")).toMatchObject({ kind: "scheduled", record: { life: 2 } });
    expect(await kept("ten-lives")).toEqual(["due 2", "event 1.created", "event 1.succeeded", "event 2.received"]);
    await bench.manager.streams.purge(STREAM.retry, { filter: "retry.run.>" });
  });

  it("is refused while the job lives, and unknown without a record", async () => {
    await bench.running(QUEUE, "alive");
    expect(await rerun("alive")).toEqual({ kind: "refused", why: "it has not ended: running" });
    await ended("alive-2", failure, ONE_HOUR_LATER);
    expect(await rerun("alive-2")).toEqual({ kind: "refused", why: "it has not ended: retrying" });
    expect(await rerun("nobody")).toEqual({ kind: "unknown" });
  });

  it("is refused where the message is kept nowhere any more, and the record stays what it is", async () => {
    await ended("forgotten", success);
    await bench.manager.streams.purge(STREAM.events, { filter: `events.${QUEUE}.${target("forgotten").hash}.>` });
    expect(await rerun("forgotten")).toMatchObject({ kind: "refused", why: expect.stringContaining("publish it again") });
    expect(await recordOf("forgotten")).toMatchObject({ state: "succeeded", life: 1 });
  });
});

describe("design §2: every step is kept", () => {
  it("a job that is retried, sleeps, is cancelled and runs again has one event for each", async () => {
    await ended("story", failure, DUE_NOW);
    const { ack } = await secondAttempt("story");
    await end("story", failure, ONE_HOUR_LATER, ack);
    await cancel("story");
    await rerun("story");
    const third = await secondAttempt("story");
    await end("story", success, NEVER_AGAIN, third.ack);
    expect(await kept("story")).toEqual([
      ...["event 1.created", "event 1.retrying", "event 2.created", "event 2.retrying", "event 3.cancelled"],
      ...["event 4.created", "event 4.received", "event 4.succeeded"],
    ]);
    expect((await recordOf("story")).attempts.map(({ n, outcome }) => `${n} ${outcome}`)).toEqual([
      "1 failed",
      "2 failed",
      "3 cancelled",
      "4 succeeded",
    ]);
  });
});
