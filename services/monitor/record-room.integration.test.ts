import { afterAll, beforeAll, expect, it } from "vitest";
import { jobHash } from "../../libs/contract/names.ts";
import type { JobState } from "../../libs/contract/record.ts";
import { recordIn } from "../../libs/contract/testing/records.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { INSTANCE, Workbench } from "../../libs/streams/testing/workbench.ts";
import { RecordRoom } from "./record-room.ts";

let server: NatsTestServer;
let bench: Workbench;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: ["default"] });
});
afterAll(() => server[Symbol.asyncDispose]());

const signal = new AbortController().signal;
const hashOf = (id: string): string => jobHash(INSTANCE, "default", id);
const kept = async (id: string): Promise<boolean> => (await bench.store.records.get(hashOf(id))) !== undefined;

async function recorded(id: string, state: JobState): Promise<void> {
  const next = { attempt: 2, notBefore: "2026-01-01T00:00:00Z" };
  const record = recordIn(state, { id, hash: hashOf(id), ...(state === "retrying" ? { next } : {}) });
  await bench.store.records.swap(record, 0);
}

/** The bucket as it really is, said to be so full until so much was forgotten. */
function roomOf(fills: number[]): RecordRoom {
  const { records } = bench.store;
  const fill = (): Promise<number> => Promise.resolve(fills.shift() ?? 0);
  return new RecordRoom({ records: { fill, forgetOldest: (...asked) => records.forgetOldest(...asked) }, log: silentLog });
}

it("Limits: a full bucket forgets what ended, succeeded first, and never what runs or sleeps", async () => {
  for (const state of ["dead", "running", "retrying", "cancelled", "succeeded"] as const) await recorded(state, state);
  await roomOf([0.84]).sweep(signal, () => {});
  expect(await kept("succeeded")).toBe(true);

  await roomOf([0.9, 0.5, 0.5, 0.5]).sweep(signal, () => {});
  expect([await kept("succeeded"), await kept("cancelled"), await kept("dead")]).toEqual([false, true, true]);

  await roomOf(Array.from({ length: 20 }, () => 0.99)).sweep(signal, () => {});
  expect([await kept("cancelled"), await kept("dead"), await kept("running"), await kept("retrying")]).toEqual([
    false,
    false,
    true,
    true,
  ]);
});

it("the oldest are forgotten first", async () => {
  for (let index = 0; index < 6; index += 1) await recorded(`old-${index}`, "succeeded");
  expect(await bench.store.records.forgetOldest("succeeded", 4, signal)).toBe(4);
  expect(await Promise.all(Array.from({ length: 6 }, (_, index) => kept(`old-${index}`)))).toEqual([
    ...Array.from({ length: 4 }, () => false),
    true,
    true,
  ]);
});
