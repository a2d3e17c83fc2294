import { headers } from "@nats-io/transport-node";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { ANNOTATION, LABEL } from "../../libs/contract/names.ts";
import { RETRY_HEADER } from "../../libs/contract/retry-message.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import type { Delivered } from "../../libs/streams/testing/workbench.ts";
import { DispatcherBench, hashOf, hello, QUEUE } from "../testing/dispatcher-bench.ts";

let bench: DispatcherBench;
beforeAll(async () => {
  bench = await DispatcherBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(() => bench.reset());

const memoryOf = (id: string) =>
  bench.cluster.jobOf(hashOf(id)).spec?.template.spec?.containers[0]?.resources?.limits?.["memory"];

describe("a due retry", () => {
  it("D4: becomes the Job of the attempt and life that it names, with the memory that it brings", async () => {
    const failure = { class: "oom", container: "main", memoryLimit: "64Mi", reason: "out of memory" } as const;
    await bench.dispatch(await bench.retrying("grows", failure));
    const { metadata } = bench.cluster.jobOf(hashOf("grows"));
    expect(metadata?.name).toBe(`hello-${hashOf("grows")}-a2`);
    expect(metadata?.labels).toMatchObject({ [LABEL.attempt]: "2" });
    expect(metadata?.annotations).toMatchObject({ [ANNOTATION.life]: "1", [ANNOTATION.id]: "grows", [ANNOTATION.type]: "hello" });
    expect(memoryOf("grows")).toBe("96Mi");
  });

  it("N4: is the producer's message: its trace goes on, its id and headers are those of the first attempt", async () => {
    const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
    const event = { specversion: "1.0", id: "1", source: "/orders", type: "t", traceparent, data: { template: "hello" } };
    const retry = await bench.retrying("/orders 1", {}, JSON.stringify(event));
    await bench.dispatch(retry);
    const { metadata, spec } = bench.cluster.jobOf(hashOf("/orders 1"));
    expect(metadata?.annotations).toMatchObject({ [ANNOTATION.traceparent]: traceparent, [ANNOTATION.id]: "/orders 1" });
    expect(spec?.template.spec?.containers[0]?.env).toContainEqual({ name: "TRACEPARENT", value: traceparent });
  });

  it.each([
    ["nothing of the engine's", "_", Object.fromEntries(Object.values(RETRY_HEADER).map((name) => [name, ""]))],
    ["another id under a hash that is not its own", "hello", { [RETRY_HEADER.id]: '"other"' }],
    ["another attempt than its subject", "_", { [RETRY_HEADER.attempt]: "7" }],
  ])("N4: a message in RETRY that carries %s is rejected; the record that it names is untouched", async (_what, type, head) => {
    const forged: Readonly<Record<string, string>> = head;
    const retry = await bench.retrying("victim");
    const before = await bench.record("victim");
    // As a program publishes that was wrongly given the right to.
    await retry.message.ackAck();
    const foreign = await published(retry, (name) => forged[name]);
    await bench.dispatch(foreign);
    expect((await bench.entryOf(foreign, type))?.header.get(DLQ_HEADER.code)).toBe("RETRY_INVALID");
    expect(await bench.record("victim")).toEqual(before);
    expect(await bench.streams.holds(foreign.source)).toBe(false);
    expect(bench.cluster.objects.size).toBe(0);
  });

  it("D4: ahead of a record that was restored: the record follows, then its Job is made; the former message is gone", async () => {
    const retry = await bench.retrying("restored");
    const { store, manager } = bench.streams;
    const stored = await store.records.get(hashOf("restored"));
    if (stored === undefined) throw new Error("no record");
    const { next: _next, ...older } = stored.record;
    await store.records.swap({ ...older, state: "running" }, stored.revision);
    await bench.dispatch(retry);
    expect(await bench.record("restored")).toMatchObject({ state: "retrying", attempt: 1, next: { attempt: 2 } });
    expect(bench.cluster.jobOf(hashOf("restored")).metadata?.labels?.[LABEL.attempt]).toBe("2");
    expect(await bench.streams.holds(retry.source)).toBe(true);
    expect((await manager.streams.info("JOBS")).state.messages).toBe(0);
  });

  it("D4: without a record, which expired or was lost, it is made all the same", async () => {
    const retry = await bench.retrying("forgotten");
    await bench.streams.manager.streams.purge("KV_millrace_jobs");
    await bench.dispatch(retry);
    expect(bench.cluster.jobOf(hashOf("forgotten")).metadata?.labels?.[LABEL.attempt]).toBe("2");
  });

  it("D5: a schedule that fired twice makes one Job; the second message is a duplicate and goes", async () => {
    const retry = await bench.retrying("twice");
    await bench.dispatch(retry);
    const second = await published(retry);
    await bench.dispatch(second);
    expect(bench.cluster.objects.size).toBe(1);
    expect(await bench.streams.holds(second.source)).toBe(false);
    expect(await bench.streams.holds(retry.source)).toBe(true);
    expect(await bench.kept("twice")).toContain("event 2.duplicate");
  });

  it("D6: an attempt's own message that comes late is acknowledged, and is no duplicate", async () => {
    const first = await bench.publishAndDispatch(hello("late"));
    const { record, revision } = await seenAndRead(first, "late");
    // Its acknowledgement was lost; meanwhile the next attempt runs.
    const source = { ...first.source, stream: "RETRY", seq: 99 };
    const attempts = [...record.attempts, { n: 2, uid: "uid-2" }];
    await bench.streams.store.records.swap({ ...record, attempt: 2, source, attempts }, revision);
    await bench.dispatch(await bench.redelivered(first));
    expect(await bench.streams.holds(first.source)).toBe(false);
    expect(await bench.kept("late")).not.toContain("event 2.duplicate");
  });

  it("D3: with another body than the record's it is a conflict, and the record stays", async () => {
    const retry = await bench.retrying("changed");
    const stored = await bench.streams.store.records.get(hashOf("changed"));
    if (stored === undefined) throw new Error("no record");
    await bench.streams.store.records.swap({ ...stored.record, messageHash: "other" }, stored.revision);
    await bench.dispatch(retry);
    expect((await bench.entryOf(retry))?.header.get(DLQ_HEADER.code)).toBe("ID_CONFLICT");
    expect(await bench.record("changed")).toMatchObject({ state: "retrying", messageHash: "other" });
    expect(bench.cluster.objects.size).toBe(0);
  });
});

describe("D7: what the API server refuses for good", () => {
  const invalid = { status: 422, reason: "Invalid", message: "Job.batch is invalid" };

  it("kills a job that awaits this attempt: record, DLQ entry of the attempt, event", async () => {
    const retry = await bench.retrying("broken");
    bench.cluster.refuse("jobs", invalid);
    await bench.dispatch(retry);
    expect(await bench.record("broken")).toMatchObject({ state: "dead", attempt: 2, attempts: [{}, { n: 2, class: "refused" }] });
    expect(await bench.kept("broken")).toEqual(["dlq 2", "event 1.created", "event 1.retrying", "event 2.dead"]);
    expect(await bench.streams.holds(retry.source)).toBe(false);
    expect(Buffer.from(await bytesOf("broken")).toString()).toBe(hello("broken"));
  });

  it("A22: so does a policy or a template that changed while its retry slept", async () => {
    const retry = await bench.retrying("unwanted");
    bench.configure({ templates: {} });
    await bench.dispatch(retry);
    expect(await bench.record("unwanted")).toMatchObject({ state: "dead", reason: expect.stringContaining("TEMPLATE_UNKNOWN") });
    expect(await bench.kept("unwanted")).toContain("dlq 2");
    expect(bench.cluster.objects.size).toBe(0);
  });

  it("rejects a message whose job has no record, and writes none", async () => {
    bench.cluster.refuse("jobs", invalid);
    const delivered = await bench.publishAndDispatch(hello("fresh"));
    expect((await bench.entryOf(delivered))?.header.get(DLQ_HEADER.code)).toBe("API_REJECTED");
    expect(await bench.record("fresh")).toBeUndefined();
  });
});

describe("D1: what a message asks for is looked at only when its Job is to be made", () => {
  it.each(["running", "succeeded"] as const)(
    "a template that is removed while the record is %s rejects nothing",
    async (state) => {
      const delivered = await bench.publishAndDispatch(hello("kept"));
      await bench.seen(delivered, "kept", { state });
      bench.configure({ templates: {} });
      await bench.dispatch(await bench.redelivered(delivered));
      expect(await bench.record("kept")).toMatchObject({ state });
      expect(await bench.streams.count("DLQ", ">")).toBe(0);
      expect(await bench.streams.holds(delivered.source)).toBe(state === "running");
    },
  );
});

describe("D1: a message whose Job was made and not yet recorded", () => {
  it("holds it on, though its template was removed meanwhile", async () => {
    const delivered = await bench.publishAndDispatch(hello("unseen"));
    bench.configure({ templates: {} });
    await bench.dispatch(await bench.redelivered(delivered));
    expect(await bench.streams.count("DLQ", ">")).toBe(0);
    expect(await bench.streams.holds(delivered.source)).toBe(true);
    expect(bench.cluster.objects.size).toBe(1);
  });

  it("of which nothing was made is rejected, also when it comes again", async () => {
    bench.configure({ templates: {} });
    await bench.streams.publish(QUEUE, hello("unmade"));
    const delivered = await bench.streams.one(QUEUE);
    await bench.dispatch(await bench.redelivered(delivered));
    expect((await bench.entryOf(delivered))?.header.get(DLQ_HEADER.code)).toBe("TEMPLATE_UNKNOWN");
    expect(await bench.streams.holds(delivered.source)).toBe(false);
  });
});

describe("P1: a tombstone", () => {
  it("takes the first message of its id and lets no Job be made; the next message is a duplicate", async () => {
    const { actions } = bench.streams.store;
    await actions.cancel({ id: "never", hash: hashOf("never"), queue: QUEUE }, "not wanted");
    const delivered = await bench.publishAndDispatch(hello("never"));
    expect(await bench.record("never")).toMatchObject({ state: "cancelled", type: "hello", source: delivered.source });
    expect(await bench.streams.holds(delivered.source)).toBe(false);
    expect(await bench.kept("never")).not.toContain("event 0.duplicate");
    const copy = await bench.publishAndDispatch(hello("never"));
    expect(await bench.kept("never")).toContain("event 0.duplicate");
    expect(await bench.streams.holds(copy.source)).toBe(false);
    expect(bench.cluster.objects.size).toBe(0);
  });
});

/** Another message like this one; `change` may replace a header's value. */
async function published({ message }: Delivered, change: (name: string) => string | undefined = () => undefined) {
  const head = headers();
  for (const [name, [value = ""]] of message.headers ?? []) {
    if (!name.startsWith("Nats-")) head.set(name, change(name) ?? value);
  }
  await bench.streams.client.publish(message.subject, message.data, { headers: head });
  return bench.streams.one(QUEUE, STREAM.retry);
}

async function seenAndRead(delivered: Delivered, id: string) {
  await bench.seen(delivered, id);
  const stored = await bench.streams.store.records.get(hashOf(id));
  if (stored === undefined) throw new Error("no record");
  return stored;
}

async function bytesOf(id: string): Promise<Uint8Array> {
  const last_by_subj = `dlq.${QUEUE}.hello.${hashOf(id)}.2`;
  return (await bench.streams.manager.streams.getMessage("DLQ", { last_by_subj }))?.data ?? new Uint8Array();
}
