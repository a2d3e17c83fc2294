import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { ANNOTATION, LABEL } from "../../libs/contract/names.ts";
import { INSTANCE } from "../../libs/streams/testing/workbench.ts";
import { DispatcherBench, hashOf, hello, QUEUE } from "../testing/dispatcher-bench.ts";

let bench: DispatcherBench;
beforeAll(async () => {
  bench = await DispatcherBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(() => bench.reset());

const count = (stream: string) => bench.streams.count(stream, ">");
const events = (id: string) => bench.streams.counts("EVENTS", `events.${QUEUE}.${hashOf(id)}.>`);
describe("D4, A1: a message becomes one Job, which holds it", () => {
  it("with identity in labels and annotations, and is not acknowledged", async () => {
    const delivered = await bench.publishAndDispatch(hello("a"), { traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` });
    const job = bench.cluster.jobOf(hashOf("a"));
    expect(job.metadata?.labels).toMatchObject({ [LABEL.queue]: QUEUE, [LABEL.instance]: INSTANCE, [LABEL.attempt]: "1" });
    expect(job.metadata?.annotations).toMatchObject({
      [ANNOTATION.id]: "a",
      [ANNOTATION.ack]: delivered.ack,
      [ANNOTATION.type]: "hello",
    });
    expect(job.metadata?.annotations?.[ANNOTATION.traceparent]).toMatch(/^00-a/);
    expect(await bench.streams.holds(delivered.source)).toBe(true);
    expect(await bench.said(delivered.source)).toEqual([]);
  });

  it("A12: plain JSON, as documented; without an id in the body the header's is taken, else the source", async () => {
    const body = JSON.stringify({ template: "hello" });
    await bench.publishAndDispatch(body, { "Nats-Msg-Id": "from-header" });
    expect(bench.cluster.jobOf(hashOf("from-header"))).toBeDefined();
    const { source } = await bench.publishAndDispatch(body);
    expect(bench.cluster.jobOf(hashOf(`JOBS-${source.seq}-${source.storedAt}`))).toBeDefined();
  });

  it("A23: an id of any text is never a name or a label", async () => {
    const id = `../../Größe "1"\n${"x".repeat(200)}`;
    await bench.publishAndDispatch(JSON.stringify({ id, template: "hello" }));
    const { metadata } = bench.cluster.jobOf(hashOf(id));
    expect(metadata?.annotations?.[ANNOTATION.id]).toBe(id);
    expect(metadata?.name).toBe(`hello-${hashOf(id)}-a1`);
    for (const value of Object.values(metadata?.labels ?? {})) expect(value).toMatch(/^[A-Za-z0-9._-]{1,63}$/);
  });

  it.each([
    ["of the event, when no header has one", {}, "a"],
    ["of the header, which is the nearer hop's", { traceparent: `00-${"c".repeat(32)}-${"d".repeat(16)}-01` }, "c"],
  ])("CloudEvents: the trace %s goes on, on the Job and into its pod", async (_which, head, digit) => {
    const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
    const event = { specversion: "1.0", id: "1", source: "/o", type: "t", traceparent, data: { template: "hello" } };
    await bench.publishAndDispatch(JSON.stringify(event), head);
    const { metadata, spec } = bench.cluster.jobOf(hashOf("/o 1"));
    const found = metadata?.annotations?.[ANNOTATION.traceparent];
    expect(found).toContain(`00-${digit.repeat(32)}-`);
    expect(spec?.template.spec?.containers[0]?.env).toContainEqual({ name: "TRACEPARENT", value: found });
  });

  it("N4: Millrace-* headers in JOBS mean nothing", async () => {
    await bench.publishAndDispatch(hello("forged"), {
      "Millrace-Id": '"victim"',
      "Millrace-Attempt": "7",
      "Millrace-Life": "3",
      "Millrace-Source": "JOBS-1-1",
      "Millrace-Memory": "1Ti",
      "Millrace-Type": '"other"',
    });
    const job = bench.cluster.jobOf(hashOf("forged"));
    expect(job.metadata?.labels?.[LABEL.attempt]).toBe("1");
    expect(job.metadata?.annotations?.[ANNOTATION.type]).toBe("hello");
    expect(bench.cluster.objects.size).toBe(1);
    expect(JSON.stringify(job.spec)).not.toContain("1Ti");
  });
});

describe("D11, A7, A10: a body that can never run goes to the DLQ once, with its bytes and the path", () => {
  const raw = (fields: object) => ({ id: "r", job: { prefixName: "p", namespace: "jobs", image: "busybox", ...fields } });
  const text = (value: unknown): string => JSON.stringify(value);
  it.each([
    ["malformed JSON", '{"template":', "BODY_INVALID", ""],
    ["invalid UTF-8", Uint8Array.from([0x7b, 0xff, 0x7d]), "BODY_INVALID", ""],
    ["an unknown template", text({ id: "x", template: "nope" }), "TEMPLATE_UNKNOWN", "template"],
    [
      "a template named like a property of every object",
      text({ id: "x", template: "constructor" }),
      "TEMPLATE_UNKNOWN",
      "template",
    ],
    ["an unknown field", text({ id: "x", template: "hello", parms: {} }), "JOB_SPEC_INVALID", "parms"],
    ["an unknown field of a raw job", text(raw({ privileged: true })), "JOB_SPEC_INVALID", "job.privileged"],
    ["1 MiB", text({ id: "x", template: "hello", params: { name: "n".repeat(1024 * 1024 - 100) } }), "BODY_TOO_LARGE", ""],
    ["an id of 300 characters", hello("i".repeat(300)), "ID_INVALID", "id"],
    ["an id that is no Unicode", '{"id":"\\ud800","template":"hello"}', "ID_INVALID", "id"],
    ["__proto__", '{"id":"x","template":"hello","__proto__":{"a":1}}', "BODY_INVALID", ""],
    ["a key twice", '{"id":"x","id":"y","template":"hello"}', "BODY_INVALID", ""],
    ["a param of the wrong type", text({ id: "x", template: "hello", params: { name: 1 } }), "PARAMS_INVALID", "params.name"],
    [
      "a param with a name of 60 KB",
      text({ id: "x", template: "hello", params: { ["é".repeat(200)]: 1 } }),
      "PARAMS_INVALID",
      `params.${"é".repeat(64)}`,
    ],
    ["A22: a forbidden namespace", text(raw({ namespace: "kube-system" })), "POLICY_DENIED", "job.namespace"],
    ["A22: a forbidden account", text(raw({ serviceAccount: "admin" })), "POLICY_DENIED", "job.serviceAccount"],
  ])("%s", async (_what, body, code, path) => {
    const delivered = await bench.publishAndDispatch(body);
    // The answer of the acknowledgement may be lost: then all of it is done again.
    await bench.dispatch(delivered);
    const entry = await bench.entryOf(delivered);
    expect(Buffer.from(entry?.data ?? []).equals(Buffer.from(body))).toBe(true);
    expect(entry?.header.get(DLQ_HEADER.code)).toBe(code);
    expect(JSON.parse(entry?.header.get(DLQ_HEADER.path) ?? "")).toBe(path);
    expect(JSON.parse(entry?.header.get(DLQ_HEADER.reason) ?? "")).toContain(path);
    expect(await count("DLQ")).toBe(1);
    const { seq, storedAt } = delivered.source;
    expect(await bench.streams.counts("EVENTS", ">")).toEqual({ [`events.${QUEUE}.JOBS-${seq}-${storedAt}.0.rejected`]: 1 });
    expect(await bench.streams.holds(delivered.source)).toBe(false);
    expect(bench.cluster.calls("POST")).toBe(0);
    await bench.publishAndDispatch(hello("next"));
    expect(bench.cluster.objects.size).toBe(1);
  });

  it("headers of more than 16 KiB", async () => {
    const delivered = await bench.publishAndDispatch(hello("x"), { "X-Big": "é".repeat(17_000) });
    expect((await bench.entryOf(delivered))?.header.get(DLQ_HEADER.code)).toBe("HEADERS_TOO_LARGE");
    expect(await bench.streams.holds(delivered.source)).toBe(false);
  });

  it("N5: a producer's Nats-* headers are kept as data, never as headers", async () => {
    const delivered = await bench.publishAndDispatch("{", { "Nats-Msg-Id": "m", "Nats-Expected-Stream": "JOBS" });
    const entry = await bench.entryOf(delivered);
    expect(entry?.header.has("Nats-Msg-Id")).toBe(false);
    expect(JSON.parse(entry?.header.get(DLQ_HEADER.headers) ?? "")).toMatchObject({
      "Nats-Msg-Id": ["m"],
      "Nats-Expected-Stream": ["JOBS"],
    });
  });

  it.each([
    ["400", { status: 400, reason: "BadRequest", message: "bad" }],
    ["413", { status: 413, reason: "RequestEntityTooLarge", message: "too large" }],
    [
      "422",
      {
        status: 422,
        reason: "Invalid",
        message: 'Job.batch "p" is invalid: spec.template.spec.containers[0].image: Invalid value: "s3cr3t"',
      },
    ],
  ])("D7: what the API server refuses with %s, without the payload in the reason", async (_what, refusal) => {
    bench.cluster.refusal = refusal;
    const delivered = await bench.publishAndDispatch(hello("x"));
    const entry = await bench.entryOf(delivered);
    expect(entry?.header.get(DLQ_HEADER.code)).toBe("API_REJECTED");
    expect(entry?.header.get(DLQ_HEADER.reason)).not.toContain("s3cr3t");
    expect(await bench.streams.holds(delivered.source)).toBe(false);
  });
});

describe("D5, D7: the same id again", () => {
  it("A2, A3: 20 copies at once, in two dispatchers: one Job, 19 duplicate events, all but the owner gone", async () => {
    for (let copy = 0; copy < 20; copy += 1) await bench.streams.publish(QUEUE, hello("same"));
    const delivered = await bench.streams.deliver(QUEUE, 20);
    const halves = [delivered.slice(0, 10), delivered.slice(10)];
    await Promise.all(halves.map((half) => bench.dispatchBy(bench.newDispatcher(), half)));
    expect(bench.cluster.objects.size).toBe(1);
    expect(await events("same")).toEqual({ [`events.${QUEUE}.${hashOf("same")}.1.duplicate`]: 19 });
    const owner = bench.cluster.jobOf(hashOf("same")).metadata?.annotations?.[ANNOTATION.ack];
    const held = await Promise.all(delivered.map(async (one) => ((await bench.streams.holds(one.source)) ? one.ack : [])));
    expect(held.flat()).toEqual([owner]);
    expect(await count("DLQ")).toBe(0);
  });

  it.each(["before the record is written", "after it"])("redelivery of the owner %s: +WPI and nothing else", async (when) => {
    const delivered = await bench.publishAndDispatch(hello("owner"));
    if (when === "after it") await bench.seen(delivered, "owner");
    bench.forgetWhatWasSaid();
    const posts = bench.cluster.calls("POST");
    const again = await bench.redelivered(delivered);
    expect(again.source).toEqual(delivered.source);
    await bench.dispatch(again);
    expect(await bench.said(again.source)).toEqual(["-NAK", "+WPI"]);
    expect(bench.cluster.calls("POST")).toBe(when === "after it" ? posts : posts + 1);
    expect(bench.cluster.objects.size).toBe(1);
    expect(await count("EVENTS")).toBe(0);
    expect(await bench.streams.holds(delivered.source)).toBe(true);
  });

  it("D5: its Job is gone: held for the monitor to judge", async () => {
    const delivered = await bench.publishAndDispatch(hello("vanished"));
    await bench.seen(delivered, "vanished");
    bench.cluster.objects.clear();
    const copy = await bench.publishAndDispatch(hello("vanished"));
    expect(await bench.said(copy.source)).toEqual([expect.stringMatching(/^-NAK/)]);
    expect(bench.cluster.objects.size).toBe(0);
  });

  it("D5: an ack annotation that somebody edited proves nothing: held", async () => {
    await bench.publishAndDispatch(hello("edited"));
    Object.assign(bench.cluster.jobOf(hashOf("edited")).metadata?.annotations ?? {}, { [ANNOTATION.ack]: "x" });
    const copy = await bench.publishAndDispatch(hello("edited"));
    expect(await bench.said(copy.source)).toEqual([expect.stringMatching(/^-NAK/)]);
  });
});

describe("D3: the same id with another body", () => {
  it.each(["running", "succeeded", "dead", "cancelled"] as const)("goes to the DLQ; a %s record is untouched", async (state) => {
    const first = await bench.publishAndDispatch(hello("taken"));
    await bench.seen(first, "taken");
    const stored = await bench.streams.store.records.get(hashOf("taken"));
    if (stored === undefined) throw new Error("no record");
    if (state !== "running") await bench.streams.store.records.swap({ ...stored.record, state }, stored.revision);
    const before = await bench.streams.store.records.get(hashOf("taken"));
    const other = await bench.publishAndDispatch(hello("taken", "somebody else"));
    expect((await bench.entryOf(other))?.header.get(DLQ_HEADER.code)).toBe("ID_CONFLICT");
    expect(await bench.streams.store.records.get(hashOf("taken"))).toEqual(before);
    expect(await bench.streams.holds(other.source)).toBe(false);
    expect(await bench.streams.holds(first.source)).toBe(true);
    expect(bench.cluster.objects.size).toBe(1);
  });

  it("D7: also before there is a record, by the Job's name", async () => {
    await bench.publishAndDispatch(hello("taken"));
    const other = await bench.publishAndDispatch(hello("taken", "somebody else"));
    expect((await bench.entryOf(other))?.header.get(DLQ_HEADER.code)).toBe("ID_CONFLICT");
    expect(bench.cluster.objects.size).toBe(1);
  });
});

describe("D6, A4: a terminal record", () => {
  it.each([
    ["succeeded", 0],
    ["dead", 1],
  ] as const)("%s: its effects are repeated before the message is acknowledged", async (state, entries) => {
    const delivered = await bench.publishAndDispatch(hello("over"));
    const uid = (await bench.seen(delivered, "over")).job?.uid;
    const stored = await bench.streams.store.records.get(hashOf("over"));
    if (stored === undefined) throw new Error("no record");
    // A monitor that died right after its compare-and-swap.
    await bench.streams.store.records.swap({ ...stored.record, state, reason: "why" }, stored.revision);
    await bench.dispatch(await bench.redelivered(delivered));
    const prefix = `events.${QUEUE}.${hashOf("over")}.1`;
    expect(await events("over")).toEqual({ [`${prefix}.created`]: 1, [`${prefix}.${state}`]: 1 });
    expect(await count("DLQ")).toBe(entries);
    expect(await bench.streams.holds(delivered.source)).toBe(false);
    const copy = await bench.publishAndDispatch(hello("over"));
    expect(await events("over")).toMatchObject({ [`${prefix}.duplicate`]: 1, [`${prefix}.${state}`]: 1 });
    expect(await bench.streams.holds(copy.source)).toBe(false);
    expect(bench.cluster.jobOf(hashOf("over")).metadata?.uid).toBe(uid);
  });
});
