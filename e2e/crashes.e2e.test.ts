import { DeliverPolicy, jetstream } from "@nats-io/jetstream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { STATE_HEADER } from "../libs/contract/record.ts";
import { BUCKET, bucketStream } from "../libs/contract/streams.ts";
import { Installation, NOTHING } from "./harness/installation.ts";

let millrace: Installation;
beforeAll(async () => {
  millrace = await Installation.open();
});
afterAll(async () => {
  await millrace[Symbol.asyncDispose]();
});

const sleeper = (id: string, seconds: number): object => ({
  id,
  job: { prefixName: "crash", namespace: "millrace-jobs", image: "busybox:latest", command: ["sleep", String(seconds)] },
});

/** One Job, one terminal event. That the message is gone is asserted for all tests together. */
async function expectRanOnce(id: string): Promise<void> {
  expect((await millrace.outcome(id)).state).toBe("succeeded");
  expect(await millrace.jobs(id)).toHaveLength(1);
  expect([millrace.eventsOf(id, "created"), millrace.eventsOf(id, "succeeded"), millrace.eventsOf(id, "dead")]).toEqual([
    1, 1, 0,
  ]);
}

it("D5: the same id published 100 times at once to two dispatchers is one Job, and 99 duplicates", async () => {
  const body = { id: "hundred", template: "hello", params: { name: "x" } };
  await Promise.all(Array.from({ length: 100 }, () => millrace.publish("jobs.default.hello", body)));
  const hash = millrace.hash("hundred");
  await millrace.events.waitFor("duplicates", (event) => event.hash === hash && event.kind === "duplicate", 99);
  await expectRanOnce("hundred");
});

describe("SIGKILL", () => {
  it("of both dispatchers while a Job runs", async () => {
    await millrace.publish("jobs.default.x", sleeper("kill-dispatcher", 25));
    await millrace.events.waitFor(
      "its start",
      (event) => event.hash === millrace.hash("kill-dispatcher") && event.kind === "started",
    );
    await millrace.sigkill("dispatcher");
    await expectRanOnce("kill-dispatcher");
  });

  it("of both monitors while a Job runs", async () => {
    await millrace.publish("jobs.default.x", sleeper("kill-monitor", 20));
    await millrace.events.waitFor(
      "its start",
      (event) => event.hash === millrace.hash("kill-monitor") && event.kind === "started",
    );
    await millrace.sigkill("monitor");
    await expectRanOnce("kill-monitor");
  });

  it("of both monitors while they settle", async () => {
    const ids = Array.from({ length: 12 }, (_, index) => `settle-${index}`);
    const records = await recordWrites();
    await Promise.all(ids.map((id) => millrace.publish("jobs.default.hello", { id, template: "hello", params: { name: id } })));
    await records.firstIn("succeeded");
    await millrace.sigkill("monitor");
    for (const id of ids) await expectRanOnce(id);
  });
});

it("leaves nothing behind", async () => {
  await expect.poll(() => millrace.leftovers(), { timeout: 60_000 }).toEqual(NOTHING);
});

/** The swap of the record is the first write of settling: whoever acts on it acts while the rest is still to be done. */
async function recordWrites(): Promise<{ firstIn(state: string): Promise<void> }> {
  const consumer = await jetstream(millrace.connection).consumers.get(bucketStream(BUCKET.records), {
    headers_only: true,
    deliver_policy: DeliverPolicy.New,
  });
  const messages = await consumer.consume();
  return {
    async firstIn(state) {
      for await (const message of messages) if (message.headers?.get(STATE_HEADER) === state) break;
      await consumer.delete();
    },
  };
}
