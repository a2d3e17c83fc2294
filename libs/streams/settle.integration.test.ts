import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../contract/dead-letter.ts";
import type { JobRecord } from "../contract/record.ts";
import type { AttemptEnded } from "../contract/transition.ts";
import type { Ended } from "../contract/verdict.ts";
import { Settler } from "./settle.ts";
import { CrashPoint } from "./testing/crashing.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
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
  at: "2026-01-01T00:00:01Z",
  ...rest,
});
const events = (record: JobRecord) => bench.counts("EVENTS", `events.${QUEUE}.${record.hash}.>`);
const deadLetter = (record: JobRecord) =>
  bench.manager.streams.getMessage("DLQ", { last_by_subj: `dlq.${QUEUE}.hello.${record.hash}.1` });

/** I3, I4, I7: everything that a settled life promises, once each. */
async function expectSettled(
  { record, source }: Delivered & { readonly record: JobRecord },
  state: "succeeded" | "dead",
): Promise<void> {
  const prefix = `events.${QUEUE}.${record.hash}.1`;
  expect((await bench.store.records.get(record.hash))?.record.state).toBe(state);
  expect(await events(record)).toEqual({ [`${prefix}.created`]: 1, [`${prefix}.${state}`]: 1 });
  expect(await bench.count("DLQ", `dlq.${QUEUE}.hello.${record.hash}.1`)).toBe(state === "dead" ? 1 : 0);
  expect(await bench.holds(source)).toBe(false);
}

describe("S1-S4: settling an attempt", () => {
  it("success: record, events with result, message gone, nothing in the DLQ", async () => {
    const job = await bench.running(QUEUE, "good");
    const outcome = await bench.store.settler.settle(job.record.hash, ended(job.record, success), job.ack);
    expect(outcome).toMatchObject({ kind: "settled", record: { state: "succeeded", result: "42" } });
    await expectSettled(job, "succeeded");
  });

  it("I4: failure: the DLQ holds the raw bytes, why, and where they came from", async () => {
    const job = await bench.running(QUEUE, "bad");
    await bench.store.settler.settle(job.record.hash, ended(job.record, failure), job.ack);
    await expectSettled(job, "dead");
    const entry = await deadLetter(job.record);
    expect(Buffer.from(entry?.data ?? []).toString()).toBe(JSON.stringify({ id: "bad", template: "hello" }));
    expect(JSON.parse(entry?.header.get(DLQ_HEADER.reason) ?? "")).toBe("exited with code 3");
    expect(entry?.header.get(DLQ_HEADER.class)).toBe("exit");
    expect(JSON.parse(entry?.header.get(DLQ_HEADER.subject) ?? "")).toBe("jobs.default.hello");
  });

  it("I7: again, by anybody, with whatever verdict: nothing is added and nothing changes", async () => {
    const job = await bench.running(QUEUE, "again");
    await bench.store.settler.settle(job.record.hash, ended(job.record, success), job.ack);
    const before = await bench.store.records.get(job.record.hash);
    await bench.store.settler.settle(job.record.hash, ended(job.record, failure), job.ack);
    await bench.store.settler.settle(job.record.hash, ended(job.record, success), undefined);
    expect(await bench.store.records.get(job.record.hash)).toEqual(before);
    await expectSettled(job, "succeeded");
  });

  it("I5: a verdict about another Job or attempt, or about no record, does nothing", async () => {
    const job = await bench.running(QUEUE, "other");
    for (const rest of [{ uid: "another" }, { attempt: 2 }]) {
      expect((await bench.store.settler.settle(job.record.hash, ended(job.record, failure, rest), job.ack)).kind).toBe("refused");
    }
    expect((await bench.store.settler.settle("z".repeat(20), ended(job.record, failure), job.ack)).kind).toBe("refused");
    expect(await bench.holds(job.source)).toBe(true);
    expect(await events(job.record)).toEqual({});
  });

  it("I3: finish of a record that is not terminal leaves the message where it is", async () => {
    const job = await bench.running(QUEUE, "alive");
    await bench.store.settler.finish(job.record, job.ack);
    await bench.store.settler.finish({ ...job.record, state: "retrying" }, job.ack);
    expect(await bench.holds(job.source)).toBe(true);
  });

  it("I1: two settlers at once, of two minds: one outcome", async () => {
    for (let round = 0; round < 10; round += 1) {
      const job = await bench.running(QUEUE, `race-${round}`);
      const verdicts = [success, failure, success, failure];
      await Promise.all(
        verdicts.map((verdict) => bench.store.settler.settle(job.record.hash, ended(job.record, verdict), job.ack)),
      );
      const state = (await bench.store.records.get(job.record.hash))?.record.state;
      await expectSettled(job, state === "dead" ? "dead" : "succeeded");
    }
  });
});

describe("S1: where the bytes are found", () => {
  const remove = (job: Delivered) => bench.store.messages.remove(job.source, job.ack);

  it("in the created event, when the message is gone", async () => {
    const job = await bench.running(QUEUE, "from-event");
    await bench.store.events.created(job.record, await bench.store.messages.read(job.source));
    await remove(job);
    await bench.store.settler.settle(job.record.hash, ended(job.record, failure), job.ack);
    expect(Buffer.from((await deadLetter(job.record))?.data ?? []).toString()).toContain('"from-event"');
    await expectSettled(job, "dead");
  });

  it("nowhere: dead, reason bytes-lost, an empty entry that says so", async () => {
    const job = await bench.running(QUEUE, "lost");
    await remove(job);
    await bench.store.settler.settle(job.record.hash, ended(job.record, failure), job.ack);
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

describe("S1-S4: a crash between any two steps is healed by doing it again", () => {
  it.each([
    ["succeeded", success],
    ["dead", failure],
  ] as const)("%s", async (state, verdict) => {
    let steps = 0;
    for (const when of ["before", "after"] as const) {
      for (let at = 1; ; at += 1) {
        const crash = new CrashPoint({ at, when });
        const { records, events: published, deadLetters, messages } = bench.store;
        const dying = new Settler({
          records: crash.wrap(records),
          events: crash.wrap(published),
          deadLetters: crash.wrap(deadLetters),
          messages: crash.wrap(messages),
        });
        const job = await bench.running(QUEUE, `crash-${state}-${when}-${at}`);
        const settling = dying.settle(job.record.hash, ended(job.record, verdict), job.ack);
        await settling.catch((error: unknown) => {
          if (!crash.crashed) throw error;
        });
        await bench.store.settler.settle(job.record.hash, ended(job.record, verdict), job.ack);
        await expectSettled(job, state);
        if (!crash.crashed) break;
        steps += 1;
      }
    }
    expect(steps).toBeGreaterThanOrEqual(10);
  });
});
