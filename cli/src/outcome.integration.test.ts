import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { jobHash } from "../../libs/contract/names.ts";
import type { JobRecord } from "../../libs/contract/record.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { INSTANCE, Workbench } from "../../libs/streams/testing/workbench.ts";
import { OutcomeWatch, type SeenEvent } from "./outcome.ts";

const QUEUE = "default";

let server: NatsTestServer;
let bench: Workbench;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: [QUEUE] });
});
afterAll(() => server[Symbol.asyncDispose]());

/** Follows an id while `happen` writes what happens to it. */
async function follow(id: string, happen: () => Promise<void>) {
  const seen: SeenEvent[] = [];
  const watch = new OutcomeWatch({ connection: bench.connection, queue: QUEUE, hash: jobHash(INSTANCE, QUEUE, id) });
  const publish = async () => {
    await happen();
    return "JOBS-1-";
  };
  const outcome = await watch.follow(publish, AbortSignal.timeout(30_000), (event) => seen.push(event));
  return { outcome, kinds: seen.map(({ kind }) => kind), seen };
}
const attempts = (record: JobRecord) => [{ n: 1, uid: record.job?.uid, class: "exit" as const, exitCode: 3 }];

describe("millrace pub --wait", () => {
  it("a retry is not the end: the outcome is that of the attempt after it", async () => {
    const { outcome, kinds, seen } = await follow("retried", async () => {
      const { record } = await bench.running(QUEUE, "retried");
      const next = { attempt: 2, notBefore: "2026-01-01T00:00:10Z" };
      await bench.store.events.created(record, undefined);
      await bench.store.events.retrying({
        ...record,
        state: "retrying",
        attempts: attempts(record),
        next,
        reason: "exit code 3",
      });
      await bench.store.events.terminal({ ...record, state: "succeeded", attempt: 2, result: "done" });
    });
    expect(outcome).toEqual({ state: "succeeded", detail: "done" });
    expect(kinds).toEqual(["created", "retrying", "succeeded"]);
    expect(seen[1]).toMatchObject({ attempt: 1, class: "exit", reason: "exit code 3", notBefore: "2026-01-01T00:00:10Z" });
  });

  it("a cancelled job is the end, and did not succeed", async () => {
    const { outcome } = await follow("cancelled", async () => {
      const { record } = await bench.running(QUEUE, "cancelled");
      await bench.store.events.terminal({ ...record, state: "cancelled", reason: "cancelled by ann" });
    });
    expect(outcome).toEqual({ state: "cancelled", detail: "cancelled by ann" });
  });

  it("what another version of Millrace tells is passed over", async () => {
    const { outcome, kinds } = await follow("newer", async () => {
      const { record } = await bench.running(QUEUE, "newer");
      await bench.client.publish(`events.${QUEUE}.${record.hash}.1.renamed`, JSON.stringify({ time: "T", data: {} }));
      await bench.store.events.terminal({ ...record, state: "dead", attempts: attempts(record), reason: "exit code 3" });
    });
    expect(outcome).toEqual({ state: "dead", detail: "exit: exit code 3" });
    expect(kinds).toEqual(["dead"]);
  });
});
