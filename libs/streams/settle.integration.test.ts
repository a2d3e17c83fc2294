import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../contract/dead-letter.ts";
import type { JobRecord } from "../contract/record.ts";
import type { AttemptEnded } from "../contract/record-event.ts";
import type { RetryPolicy } from "../contract/retry.ts";
import type { Ended } from "../contract/verdict.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
import { DUE_NOW, NEVER_AGAIN } from "./testing/policies.ts";
import { type Delivered, Workbench } from "./testing/workbench.ts";

const QUEUE = "default";
const success: Ended = { kind: "succeeded", endedAt: "2026-01-01T00:00:00Z", exitCode: 0, result: "42" };
const failure: Ended = {
  kind: "failed",
  class: "exit",
  reason: "exited with code 3",
  exitCode: 3,
  endedAt: "2026-01-01T00:00:00Z",
};

let server: NatsTestServer;
let bench: Workbench;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: [QUEUE] });
});
afterAll(() => server[Symbol.asyncDispose]());

const ended = (record: JobRecord, verdict: Ended, rest: Partial<AttemptEnded> = {}): AttemptEnded => ({
  kind: "attemptEnded",
  attempt: record.attempt,
  uid: record.job?.uid ?? "",
  verdict,
  policy: NEVER_AGAIN,
  at: "2026-01-01T00:00:01Z",
  ...rest,
});
const deadLetter = (record: JobRecord) =>
  bench.manager.streams.getMessage("DLQ", { last_by_subj: `dlq.${QUEUE}.hello.${record.hash}.1` });

type Outcome = "succeeded" | "dead" | "retrying";
const KEPT: Readonly<Record<Outcome, readonly string[]>> = {
  succeeded: ["event 1.created", "event 1.succeeded"],
  dead: ["dlq 1", "event 1.created", "event 1.dead"],
  retrying: ["due 2", "event 1.created", "event 1.retrying"],
};

/** I3, I4, I7: everything that a settled attempt promises, once each. */
async function expectSettled({ record, source }: Delivered & { readonly record: JobRecord }, state: Outcome): Promise<void> {
  expect((await bench.store.records.get(record.hash))?.record.state).toBe(state);
  expect(await bench.kept(QUEUE, record.hash)).toEqual(KEPT[state]);
  expect(await bench.holds(source)).toBe(false);
}

describe("S1-S4: settling an attempt", () => {
  it("success: record, events with result, message gone, nothing in the DLQ", async () => {
    const job = await bench.running(QUEUE, "good");
    const outcome = await bench.store.settler.settle(job.record.hash, ended(job.record, success), job.ack);
    expect(outcome).toMatchObject({ kind: "settled", first: true, record: { state: "succeeded", result: "42" } });
    await expectSettled(job, "succeeded");
  });

  it("I4: failure: the DLQ holds the raw bytes, why, the log's end, and where they came from", async () => {
    const job = await bench.running(QUEUE, "bad");
    await bench.store.logs.put(job.record.hash, 1, "lines\nthe last line");
    await bench.store.settler.settle(job.record.hash, ended(job.record, failure), job.ack);
    await expectSettled(job, "dead");
    const entry = await deadLetter(job.record);
    const header = (name: string): unknown => JSON.parse(entry?.header.get(name) ?? "");
    expect(Buffer.from(entry?.data ?? []).toString()).toBe(JSON.stringify({ id: "bad", template: "hello" }));
    expect(header(DLQ_HEADER.reason)).toBe("exited with code 3; its only attempt");
    expect(header(DLQ_HEADER.subject)).toBe("jobs.default.hello");
    expect(header(DLQ_HEADER.logTail)).toBe("lines\nthe last line");
    expect(entry?.header.get(DLQ_HEADER.class)).toBe("exit");
  });

  it("I7: again, by anybody, with whatever verdict: nothing is added and nothing changes", async () => {
    const job = await bench.running(QUEUE, "again");
    await bench.store.settler.settle(job.record.hash, ended(job.record, success), job.ack);
    const before = await bench.store.records.get(job.record.hash);
    const again = await bench.store.settler.settle(job.record.hash, ended(job.record, failure), job.ack);
    expect(again).toMatchObject({ kind: "settled", first: false });
    await bench.store.settler.settle(job.record.hash, ended(job.record, success), undefined);
    expect(await bench.store.records.get(job.record.hash)).toEqual(before);
    await expectSettled(job, "succeeded");
  });

  it("a record that moved on since the caller read it is read again: what it says now decides", async () => {
    const job = await bench.running(QUEUE, "outdated");
    const known = await bench.store.records.get(job.record.hash);
    await bench.store.settler.settle(job.record.hash, ended(job.record, success), job.ack, known);
    const again = await bench.store.settler.settle(job.record.hash, ended(job.record, failure), job.ack, known);
    expect(again).toMatchObject({ kind: "settled", first: false, record: { state: "succeeded" } });
    await expectSettled(job, "succeeded");
  });

  it("a verdict that fits no more to what the caller remembers is judged by the record", async () => {
    const job = await bench.running(QUEUE, "remembered");
    const stored = await bench.store.records.get(job.record.hash);
    const known = stored && { ...stored, record: { ...stored.record, attempt: 2 } };
    const outcome = await bench.store.settler.settle(job.record.hash, ended(job.record, success), job.ack, known);
    expect(outcome).toMatchObject({ kind: "settled", first: true });
    await expectSettled(job, "succeeded");
  });

  it("I5: a verdict about another Job or attempt, or about no record, does nothing", async () => {
    const job = await bench.running(QUEUE, "other");
    for (const rest of [{ uid: "another" }, { attempt: 2 }]) {
      expect((await bench.store.settler.settle(job.record.hash, ended(job.record, failure, rest), job.ack)).kind).toBe("refused");
    }
    expect((await bench.store.settler.settle("z".repeat(20), ended(job.record, failure), job.ack)).kind).toBe("refused");
    expect(await bench.holds(job.source)).toBe(true);
    expect(await bench.kept(QUEUE, job.record.hash)).toEqual([]);
  });

  it("I3: the message of a running record stays where it is, also when somebody says that it is done", async () => {
    const job = await bench.running(QUEUE, "alive");
    await bench.store.settler.finish(job.record, job.ack);
    expect(await bench.holds(job.source)).toBe(true);
    expect(await bench.kept(QUEUE, job.record.hash)).toEqual([]);
  });

  it("I1: settlers at once, of several minds: one outcome", async () => {
    const minds: readonly (readonly [Ended, RetryPolicy])[] = [
      [success, NEVER_AGAIN],
      [failure, NEVER_AGAIN],
      [failure, DUE_NOW],
      [success, DUE_NOW],
      [failure, DUE_NOW],
    ];
    for (let round = 0; round < 10; round += 1) {
      const job = await bench.running(QUEUE, `race-${round}`);
      const settling = minds.map(([verdict, policy]) =>
        bench.store.settler.settle(job.record.hash, ended(job.record, verdict, { policy }), job.ack),
      );
      const outcomes = await Promise.all(settling);
      expect(outcomes.filter((outcome) => outcome.kind === "settled" && outcome.first)).toHaveLength(1);
      const state = (await bench.store.records.get(job.record.hash))?.record.state;
      await expectSettled(job, state === "dead" || state === "retrying" ? state : "succeeded");
    }
  });
});

describe("S1: where the bytes are found", () => {
  const remove = (job: Delivered) => bench.store.messages.remove(job.source, job.ack);
  const bodyOf = async (record: JobRecord): Promise<string> => Buffer.from((await deadLetter(record))?.data ?? []).toString();

  it("in the created event, when the message is gone", async () => {
    const job = await bench.running(QUEUE, "from-event");
    await bench.store.events.created(job.record, await bench.store.messages.read(job.source));
    await remove(job);
    await bench.store.settler.settle(job.record.hash, ended(job.record, failure), job.ack);
    expect(await bodyOf(job.record)).toContain('"from-event"');
    await expectSettled(job, "dead");
  });

  it("in the DLQ, when EVENTS is gone too: a dead job can be run again from there", async () => {
    const job = await bench.running(QUEUE, "from-dlq");
    await bench.store.settler.settle(job.record.hash, ended(job.record, failure), job.ack);
    await bench.manager.streams.purge("EVENTS", { filter: `events.${QUEUE}.${job.record.hash}.>` });
    const record = (await bench.store.records.get(job.record.hash))?.record;
    if (record === undefined) throw new Error("no record");
    expect(await bench.store.settler.findMessage(record)).toEqual({
      subject: "jobs.default.hello",
      headers: {},
      bodyBase64: Buffer.from(JSON.stringify({ id: "from-dlq", template: "hello" })).toString("base64"),
    });
  });

  it("nowhere: dead, whatever the class and the budget say, with reason bytes-lost and an empty entry", async () => {
    const job = await bench.running(QUEUE, "lost");
    await remove(job);
    await bench.store.settler.settle(job.record.hash, ended(job.record, failure, { policy: DUE_NOW }), job.ack);
    const entry = await deadLetter(job.record);
    expect(entry?.data).toHaveLength(0);
    expect(entry?.header.get(DLQ_HEADER.reason)).toContain("bytes-lost");
    await expectSettled(job, "dead");
  });

  it("a success needs none", async () => {
    const job = await bench.running(QUEUE, "lost-but-good");
    await remove(job);
    await bench.store.settler.settle(job.record.hash, ended(job.record, success), job.ack);
    await expectSettled(job, "succeeded");
  });
});
