import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { jobHash, messageHash } from "../contract/names.ts";
import { isTerminal, type JobRecord, type JobState } from "../contract/record.ts";
import type { RecordEvent } from "../contract/record-event.ts";
import type { RetryPolicy } from "../contract/retry.ts";
import { STREAM } from "../contract/streams.ts";
import type { Ended } from "../contract/verdict.ts";
import { JetStreamBroker } from "./jetstream-broker.ts";
import { type JobStore, jobStore } from "./job-store.ts";
import { CrashPoint } from "./testing/crashing.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
import { DUE_NOW, NEVER_AGAIN, ONE_HOUR_LATER } from "./testing/policies.ts";
import { type Delivered, INSTANCE, Workbench } from "./testing/workbench.ts";

const at = new Date().toISOString();
const NEXT_YEAR = new Date(Date.now() + 365 * 86_400_000).toISOString();
const success: Ended = { kind: "succeeded", endedAt: at };
const failure: Ended = { kind: "failed", class: "exit", reason: "exited with code 3", exitCode: 3, endedAt: at };
const stopped: Ended = { kind: "cancelled", reason: "cancelled by ann", endedAt: at };

/** One thing that happens to a job, and what must be there after it. */
interface Scenario {
  readonly name: string;
  /** Brings a job to where it happens, and says what happens, and which message is gone afterwards. */
  readonly prepare: (queue: string, id: string) => Promise<Happening>;
  readonly state: JobState;
  readonly kept: readonly string[];
}
interface Happening {
  readonly act: (store: JobStore) => Promise<unknown>;
  readonly message?: Delivered;
}

let server: NatsTestServer;
let bench: Workbench;
let broker: JetStreamBroker;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: SCENARIOS.map((_scenario, index) => queueOf(index)) });
  broker = await JetStreamBroker.open(bench.connection);
});
afterAll(() => server[Symbol.asyncDispose]());

const queueOf = (index: number): string => `q${index}`;
const storeOver = (over: JetStreamBroker): JobStore =>
  jobStore({ broker: over, instance: INSTANCE, logs: bench.store.logs, nowMs: Date.now });

const ended = (record: JobRecord, verdict: Ended, policy: RetryPolicy): RecordEvent => ({
  kind: "attemptEnded",
  attempt: record.attempt,
  uid: record.job?.uid ?? "",
  verdict,
  policy,
  at,
});

/** A message in JOBS that was pulled, and the job that it asks for. */
async function pulled(queue: string, id: string) {
  const body = JSON.stringify({ id, template: "hello" });
  await bench.publish(queue, body);
  const message = await bench.one(queue);
  const facts = { type: "hello", messageHash: messageHash(new TextEncoder().encode(body)), source: message.source };
  return { message, job: { id, hash: jobHash(INSTANCE, queue, id), queue, ...facts } };
}

/** A record after an event that nothing went wrong with. */
async function settled(hash: string, event: RecordEvent, ack?: string): Promise<JobRecord> {
  const outcome = await bench.store.settler.settle(hash, event, ack);
  if (outcome.kind === "refused") throw new Error(outcome.why);
  return outcome.record;
}

async function endedAttempt(queue: string, id: string, verdict: Ended, policy: RetryPolicy): Promise<JobRecord> {
  const { record, ack } = await bench.running(queue, id);
  return settled(record.hash, ended(record, verdict, policy), ack);
}

/** A retry that was due and was pulled out of RETRY. */
async function dueRetry(queue: string, id: string) {
  const record = await endedAttempt(queue, id, failure, DUE_NOW);
  const [message] = await bench.deliver(queue, 1, STREAM.retry);
  if (message === undefined || !message.message.subject.includes(record.hash)) throw new Error("another retry was delivered");
  return { record, message };
}

const ofVerdict =
  (verdict: Ended, policy: RetryPolicy): Scenario["prepare"] =>
  async (queue, id) => {
    const { record, ...message } = await bench.running(queue, id);
    return { message, act: ({ settler }) => settler.settle(record.hash, ended(record, verdict, policy), message.ack) };
  };
const ofSleep =
  (notBefore: string): Scenario["prepare"] =>
  async (queue, id) => {
    const { record, message } = await dueRetry(queue, id);
    const { hash, type, messageHash: bytes, life } = record;
    const job = { id, hash, queue, type, messageHash: bytes, source: message.source, attempt: 2, life, memory: undefined };
    const event: RecordEvent = { kind: "delayed", ...job, notBefore, why: "the cluster says no", refused: 1, at };
    return { message, act: ({ settler }) => settler.settle(hash, event, message.ack) };
  };
const ofRerun =
  (verdict: Ended): Scenario["prepare"] =>
  async (queue, id) => {
    const { hash } = await endedAttempt(queue, id, verdict, NEVER_AGAIN);
    return { act: ({ actions }) => actions.rerun({ id, hash, queue }, "run again by ann") };
  };

const SCENARIOS: readonly Scenario[] = [
  {
    name: "S2: a success",
    prepare: ofVerdict(success, NEVER_AGAIN),
    state: "succeeded",
    kept: ["event 1.created", "event 1.succeeded"],
  },
  {
    name: "S2: a failure for good",
    prepare: ofVerdict(failure, NEVER_AGAIN),
    state: "dead",
    kept: ["dlq 1", "event 1.created", "event 1.dead"],
  },
  {
    name: "S2: a failure that is tried again at once",
    prepare: ofVerdict(failure, DUE_NOW),
    state: "retrying",
    kept: ["due 2", "event 1.created", "event 1.retrying"],
  },
  {
    name: "S2: a failure that is tried again later",
    prepare: ofVerdict(failure, ONE_HOUR_LATER),
    state: "retrying",
    kept: ["at 2", "event 1.created", "event 1.retrying"],
  },
  {
    name: "P1: a running attempt that was stopped",
    prepare: ofVerdict(stopped, NEVER_AGAIN),
    state: "cancelled",
    kept: ["event 1.cancelled", "event 1.created"],
  },
  {
    name: "P1: a cancel while the retry sleeps",
    prepare: async (queue, id) => {
      const { hash } = await endedAttempt(queue, id, failure, ONE_HOUR_LATER);
      return { act: ({ actions }) => actions.cancel({ id, hash, queue }, "cancelled by ann") };
    },
    state: "cancelled",
    kept: ["event 1.created", "event 1.retrying", "event 2.cancelled"],
  },
  {
    name: "P1: a cancel before any message is pulled",
    prepare: async (queue, id) => ({
      act: ({ actions }) => actions.cancel({ id, hash: jobHash(INSTANCE, queue, id), queue }, "cancelled by ann"),
    }),
    state: "cancelled",
    kept: ["event 0.cancelled"],
  },
  {
    name: "P1: the first message of a cancelled id",
    prepare: async (queue, id) => {
      const { job, message } = await pulled(queue, id);
      await bench.store.actions.cancel(job, "cancelled by ann");
      const { type, messageHash: bytes, source } = job;
      const event: RecordEvent = { kind: "adopted", type, messageHash: bytes, source, at };
      return { message, act: ({ settler }) => settler.settle(job.hash, event, message.ack) };
    },
    state: "cancelled",
    kept: ["event 0.cancelled", "event 1.received"],
  },
  {
    name: "D10: a delayed start",
    prepare: async (queue, id) => {
      const { job, message } = await pulled(queue, id);
      const event: RecordEvent = {
        ...{ kind: "delayed", ...job, attempt: 1, life: 1, memory: undefined },
        ...{ notBefore: NEXT_YEAR, why: "runAt", refused: 0, at },
      };
      return { message, act: ({ settler }) => settler.settle(job.hash, event, message.ack) };
    },
    state: "retrying",
    kept: ["at 1", "event 1.received"],
  },
  {
    name: "D8: a due retry that sleeps on",
    prepare: ofSleep(NEXT_YEAR),
    state: "retrying",
    kept: ["at 2", "event 1.created", "event 1.retrying"],
  },
  {
    name: "D8: a due retry whose sleep is over before it is stored",
    prepare: ofSleep("2026-01-01T00:00:00.000Z"),
    state: "retrying",
    kept: ["due 2", "event 1.created", "event 1.retrying"],
  },
  {
    name: "D7: a due retry that is refused for good",
    prepare: async (queue, id) => {
      const { record, message } = await dueRetry(queue, id);
      const refusal = { attempt: 2, life: 1, source: message.source, reason: "its template is gone", at };
      return { message, act: ({ settler }) => settler.settle(record.hash, { kind: "refused", ...refusal }, message.ack) };
    },
    state: "dead",
    kept: ["dlq 2", "event 1.created", "event 1.retrying", "event 2.dead"],
  },
  {
    name: "P3: a rerun after success",
    prepare: ofRerun(success),
    state: "retrying",
    kept: ["due 2", "event 1.created", "event 1.succeeded", "event 2.received"],
  },
  {
    name: "P2: another life after death",
    prepare: ofRerun(failure),
    state: "retrying",
    kept: ["dlq 1", "due 2", "event 1.created", "event 1.dead", "event 2.received"],
  },
  {
    name: "P3: a rerun after a cancel",
    prepare: ofRerun(stopped),
    state: "retrying",
    kept: ["due 2", "event 1.cancelled", "event 1.created", "event 2.received"],
  },
  {
    name: "P3: a rerun of what was cancelled before it was pulled",
    prepare: async (queue, id) => {
      const { job, message } = await pulled(queue, id);
      await bench.store.actions.cancel(job, "cancelled by ann");
      const { type, messageHash: bytes, source } = job;
      await settled(job.hash, { kind: "adopted", type, messageHash: bytes, source, at }, message.ack);
      return { act: ({ actions }) => actions.rerun(job, "run again by ann") };
    },
    state: "retrying",
    kept: ["due 2", "event 0.cancelled", "event 1.received", "event 2.received"],
  },
];

/** I3: wherever it stopped, the message is held, or its outcome is durable. */
async function expectNothingLost(queue: string, hash: string, message: Delivered | undefined): Promise<void> {
  const kept = await bench.kept(queue, hash);
  const record = (await bench.store.records.get(hash))?.record;
  if (message !== undefined && (await bench.holds(message.source))) return;
  if (kept.some((entry) => entry.startsWith("at ") || entry.startsWith("due "))) return;
  if (message === undefined && record?.state === "retrying") return;
  if (record === undefined) return expect(message).toBeUndefined();
  expect(isTerminal(record.state)).toBe(true);
  if (message === undefined) return;
  expect(kept.some((entry) => entry.startsWith("event ") && entry.endsWith(`.${record.state}`))).toBe(true);
  if (record.state === "dead") expect(kept).toContain(`dlq ${record.attempt}`);
}

describe("S1-S4: a crash before or after any single step is healed by doing it again", () => {
  it.each(SCENARIOS.map((scenario, index) => ({ ...scenario, index })))("$name", async ({ prepare, index, state, kept }) => {
    const queue = queueOf(index);
    let crashes = 0;
    for (const when of ["before", "after"] as const) {
      for (let step = 1; ; step += 1) {
        const id = `${when}-${step}`;
        const hash = jobHash(INSTANCE, queue, id);
        const { act, message } = await prepare(queue, id);
        const crash = new CrashPoint({ at: step, when });
        await act(storeOver(crash.wrap(broker))).catch((error: unknown) => {
          if (!crash.crashed) throw error;
        });
        await expectNothingLost(queue, hash, message);
        await act(bench.store);
        expect((await bench.store.records.get(hash))?.record.state).toBe(state);
        expect(await bench.kept(queue, hash)).toEqual(kept);
        if (message !== undefined) expect(await bench.holds(message.source)).toBe(false);
        await bench.manager.streams.purge(STREAM.retry, { filter: `retry.run.${queue}.>` });
        if (!crash.crashed) break;
        crashes += 1;
      }
    }
    expect(crashes).toBeGreaterThanOrEqual(6);
  });
});
