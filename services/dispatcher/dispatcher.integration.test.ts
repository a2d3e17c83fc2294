import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { ANNOTATION, jobHash, LABEL } from "../../libs/contract/names.ts";
import type { QueueConfig } from "../../libs/contract/queue-config.ts";
import type { MessageSource } from "../../libs/contract/source.ts";
import { consumerName } from "../../libs/contract/streams.ts";
import { parseDispatchConfig } from "../../libs/kube/dispatch-config-source.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { type Delivered, INSTANCE, Workbench } from "../../libs/streams/testing/workbench.ts";
import { FakeCluster } from "../testing/fake-cluster.ts";
import { Admission } from "./admission.ts";
import { Dispatcher } from "./dispatcher.ts";

const QUEUE = "default";
const config = parseDispatchConfig(
  JSON.stringify({
    queues: { [QUEUE]: { policy: { raw: true, namespaces: ["jobs"] } } },
    templates: {
      hello: {
        image: "busybox",
        command: ["echo", "hello $(params.name)"],
        params: { type: "object", properties: { name: { type: "string" } }, additionalProperties: false },
      },
    },
  }),
);
const queue = config.queues[QUEUE] as QueueConfig;

let server: NatsTestServer;
let bench: Workbench;
let cluster: FakeCluster;
let dispatcher: Dispatcher;
let listener: NatsConnection;
let acks: { subject: string; payload: string }[];

beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: [QUEUE] });
  listener = await server.connect();
  listener.subscribe("$JS.ACK.>", {
    callback: (_error, message) => void acks.push({ subject: message.subject, payload: message.string() }),
  });
  await listener.flush();
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(async () => {
  acks = [];
  for (const stream of ["JOBS", "EVENTS", "DLQ", "KV_millrace_jobs"]) await bench.manager.streams.purge(stream);
  cluster = await FakeCluster.start();
  dispatcher = newDispatcher();
});
afterEach(() => cluster[Symbol.asyncDispose]());

function newDispatcher(): Dispatcher {
  const admission = new Admission({ config: () => config, jobsNamespace: "jobs" });
  return new Dispatcher({
    ...bench.store,
    instance: INSTANCE,
    admission,
    jobs: cluster.jobs,
    metrics: new Metrics("test"),
    log: silentLog,
  });
}
const dispatch = (...delivered: readonly Delivered[]) =>
  dispatcher.dispatch(
    delivered.map(({ message }) => message),
    QUEUE,
    queue,
  );
const hashOf = (id: string): string => jobHash(INSTANCE, QUEUE, id);
const hello = (id: string, name = "world"): string => JSON.stringify({ id, template: "hello", params: { name } });
const events = (hash: string) => bench.counts("EVENTS", `events.${QUEUE}.${hash}.>`);
/** What was said about a message on its reply subject, by anybody, in order. */
async function payloads(source: MessageSource): Promise<string[]> {
  await bench.connection.flush();
  await listener.flush();
  return acks
    .filter(({ subject }) => subject.includes(`.${source.seq}.`) && subject.includes(source.storedAt))
    .map(({ payload }) => payload);
}

async function publishAndDispatch(body: Uint8Array | string, head: Readonly<Record<string, string>> = {}): Promise<Delivered> {
  await bench.publish(QUEUE, body, head);
  const delivered = await bench.one(QUEUE);
  await dispatch(delivered);
  return delivered;
}
const entryOf = ({ source }: Delivered) =>
  bench.manager.streams.getMessage("DLQ", { last_by_subj: `dlq.${QUEUE}.hello.JOBS-${source.seq}-${source.storedAt}` });

/** As a monitor does at first sight. */
async function record(delivered: Delivered, id: string): Promise<string> {
  const job = cluster.jobOf(hashOf(id));
  const metadata = job.metadata ?? {};
  const at = new Date().toISOString();
  await bench.store.records.swap(
    {
      id,
      hash: hashOf(id),
      queue: QUEUE,
      type: "hello",
      state: "running",
      attempt: 1,
      life: 1,
      budgetFrom: 1,
      messageHash: metadata.annotations?.[ANNOTATION.messageHash] ?? "",
      source: delivered.source,
      job: { namespace: "jobs", name: metadata.name ?? "", uid: metadata.uid ?? "" },
      attempts: [{ n: 1, uid: metadata.uid ?? "" }],
      createdAt: at,
      updatedAt: at,
    },
    0,
  );
  return metadata.uid ?? "";
}

describe("D4: a message becomes one Job, which holds it", () => {
  it("with identity in labels and annotations, and is not acknowledged", async () => {
    const delivered = await publishAndDispatch(hello("a"), { traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` });
    const job = cluster.jobOf(hashOf("a"));
    expect(job.metadata?.labels).toMatchObject({ [LABEL.queue]: QUEUE, [LABEL.instance]: INSTANCE, [LABEL.attempt]: "1" });
    expect(job.metadata?.annotations).toMatchObject({
      [ANNOTATION.id]: "a",
      [ANNOTATION.ack]: delivered.ack,
      [ANNOTATION.type]: "hello",
    });
    expect(job.metadata?.annotations?.[ANNOTATION.traceparent]).toMatch(/^00-a/);
    expect(await bench.holds(delivered.source)).toBe(true);
    expect(await payloads(delivered.source)).toEqual([]);
  });

  it("without an id in the body the header's is taken, else the source", async () => {
    const body = JSON.stringify({ template: "hello" });
    await publishAndDispatch(body, { "Nats-Msg-Id": "from-header" });
    expect(cluster.jobOf(hashOf("from-header"))).toBeDefined();
    const { source } = await publishAndDispatch(body);
    expect(cluster.jobOf(hashOf(`JOBS-${source.seq}-${source.storedAt}`))).toBeDefined();
  });

  it("N4: Millrace-* headers in JOBS mean nothing", async () => {
    await publishAndDispatch(hello("forged"), {
      "Millrace-Id": '"victim"',
      "Millrace-Attempt": "7",
      "Millrace-Life": "3",
      "Millrace-Source": "JOBS-1-1",
      "Millrace-Memory": "1Ti",
      "Millrace-Type": '"other"',
    });
    const job = cluster.jobOf(hashOf("forged"));
    expect(job.metadata?.labels?.[LABEL.attempt]).toBe("1");
    expect(job.metadata?.annotations?.[ANNOTATION.type]).toBe("hello");
    expect(cluster.objects.size).toBe(1);
    expect(JSON.stringify(job.spec)).not.toContain("1Ti");
  });
});

describe("D11: a body that can never run goes to the DLQ once, with its bytes and the path", () => {
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
    ["a forbidden namespace", text(raw({ namespace: "kube-system" })), "POLICY_DENIED", "job.namespace"],
    ["a forbidden account", text(raw({ serviceAccount: "admin" })), "POLICY_DENIED", "job.serviceAccount"],
  ])("%s", async (_what, body, code, path) => {
    const delivered = await publishAndDispatch(body);
    // The answer of the acknowledgement may be lost: then all of it is done again.
    await dispatch(delivered);
    const entry = await entryOf(delivered);
    expect(Buffer.from(entry?.data ?? []).equals(Buffer.from(body))).toBe(true);
    expect(entry?.header.get(DLQ_HEADER.code)).toBe(code);
    expect(JSON.parse(entry?.header.get(DLQ_HEADER.path) ?? "")).toBe(path);
    expect(JSON.parse(entry?.header.get(DLQ_HEADER.reason) ?? "")).toContain(path);
    expect(await bench.count("DLQ", ">")).toBe(1);
    const { seq, storedAt } = delivered.source;
    expect(await bench.counts("EVENTS", ">")).toEqual({ [`events.${QUEUE}.JOBS-${seq}-${storedAt}.0.rejected`]: 1 });
    expect(await bench.holds(delivered.source)).toBe(false);
    expect(cluster.calls("POST")).toBe(0);
    await publishAndDispatch(hello("next"));
    expect(cluster.objects.size).toBe(1);
  });

  it("headers of more than 16 KiB", async () => {
    const delivered = await publishAndDispatch(hello("x"), { "X-Big": "é".repeat(17_000) });
    expect((await entryOf(delivered))?.header.get(DLQ_HEADER.code)).toBe("HEADERS_TOO_LARGE");
    expect(await bench.holds(delivered.source)).toBe(false);
  });

  it("N5: a producer's Nats-* headers are kept as data, never as headers", async () => {
    const delivered = await publishAndDispatch("{", { "Nats-Msg-Id": "m", "Nats-Expected-Stream": "JOBS" });
    const entry = await entryOf(delivered);
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
    cluster.refusal = refusal;
    const delivered = await publishAndDispatch(hello("x"));
    const entry = await entryOf(delivered);
    expect(entry?.header.get(DLQ_HEADER.code)).toBe("API_REJECTED");
    expect(entry?.header.get(DLQ_HEADER.reason)).not.toContain("s3cr3t");
    expect(await bench.holds(delivered.source)).toBe(false);
  });
});

describe("D5, D7: the same id again", () => {
  it("20 copies at once, in two dispatchers: one Job, 19 duplicate events, all but the owner gone", async () => {
    for (let copy = 0; copy < 20; copy += 1) await bench.publish(QUEUE, hello("same"));
    const delivered = await bench.deliver(QUEUE, 20);
    const halves = [delivered.slice(0, 10), delivered.slice(10)];
    await Promise.all(
      halves.map((half) =>
        newDispatcher().dispatch(
          half.map(({ message }) => message),
          QUEUE,
          queue,
        ),
      ),
    );
    expect(cluster.objects.size).toBe(1);
    expect(await events(hashOf("same"))).toEqual({ [`events.${QUEUE}.${hashOf("same")}.1.duplicate`]: 19 });
    const owner = cluster.jobOf(hashOf("same")).metadata?.annotations?.[ANNOTATION.ack];
    const held = await Promise.all(delivered.map(async (one) => ((await bench.holds(one.source)) ? one.ack : [])));
    expect(held.flat()).toEqual([owner]);
    expect(await bench.count("DLQ", ">")).toBe(0);
  });

  it.each(["before the record is written", "after it"])("redelivery of the owner %s: +WPI and nothing else", async (when) => {
    const delivered = await publishAndDispatch(hello("owner"));
    if (when === "after it") await record(delivered, "owner");
    acks = [];
    const posts = cluster.calls("POST");
    // What the broker does after ack_wait, without the waiting.
    bench.connection.publish(delivered.ack, "-NAK");
    const again = await bench.one(QUEUE);
    expect(again.source).toEqual(delivered.source);
    await dispatch(again);
    expect(await payloads(again.source)).toEqual(["-NAK", "+WPI"]);
    expect(cluster.calls("POST")).toBe(when === "after it" ? posts : posts + 1);
    expect(cluster.objects.size).toBe(1);
    expect(await bench.count("EVENTS", ">")).toBe(0);
    expect(await bench.holds(delivered.source)).toBe(true);
  });

  it("D5: its Job is gone: held for the monitor to judge", async () => {
    const delivered = await publishAndDispatch(hello("vanished"));
    await record(delivered, "vanished");
    cluster.objects.clear();
    await bench.publish(QUEUE, hello("vanished"));
    const copy = await bench.one(QUEUE);
    await dispatch(copy);
    expect(await payloads(copy.source)).toEqual([expect.stringMatching(/^-NAK/)]);
    expect(cluster.objects.size).toBe(0);
  });

  it("D5: an ack annotation that somebody edited proves nothing: held", async () => {
    await publishAndDispatch(hello("edited"));
    Object.assign(cluster.jobOf(hashOf("edited")).metadata?.annotations ?? {}, { [ANNOTATION.ack]: "x" });
    const copy = await publishAndDispatch(hello("edited"));
    expect(await payloads(copy.source)).toEqual([expect.stringMatching(/^-NAK/)]);
  });
});

describe("D3: the same id with another body", () => {
  it.each(["running", "succeeded", "dead", "cancelled"] as const)("goes to the DLQ; a %s record is untouched", async (state) => {
    const first = await publishAndDispatch(hello("taken"));
    await record(first, "taken");
    const stored = await bench.store.records.get(hashOf("taken"));
    if (stored === undefined) throw new Error("no record");
    if (state !== "running") await bench.store.records.swap({ ...stored.record, state }, stored.revision);
    const before = await bench.store.records.get(hashOf("taken"));
    const other = await publishAndDispatch(hello("taken", "somebody else"));
    expect((await entryOf(other))?.header.get(DLQ_HEADER.code)).toBe("ID_CONFLICT");
    expect(await bench.store.records.get(hashOf("taken"))).toEqual(before);
    expect(await bench.holds(other.source)).toBe(false);
    expect(await bench.holds(first.source)).toBe(true);
    expect(cluster.objects.size).toBe(1);
  });

  it("D7: also before there is a record, by the Job's name", async () => {
    await publishAndDispatch(hello("taken"));
    const other = await publishAndDispatch(hello("taken", "somebody else"));
    expect((await entryOf(other))?.header.get(DLQ_HEADER.code)).toBe("ID_CONFLICT");
    expect(cluster.objects.size).toBe(1);
  });
});

describe("D6: a terminal record", () => {
  it.each([
    ["succeeded", 0],
    ["dead", 1],
  ] as const)("%s: its effects are repeated before the message is acknowledged", async (state, entries) => {
    const delivered = await publishAndDispatch(hello("over"));
    const uid = await record(delivered, "over");
    const stored = await bench.store.records.get(hashOf("over"));
    if (stored === undefined) throw new Error("no record");
    // A monitor that died right after its compare-and-swap.
    await bench.store.records.swap({ ...stored.record, state, reason: "why" }, stored.revision);
    bench.connection.publish(delivered.ack, "-NAK");
    await dispatch(await bench.one(QUEUE));
    const prefix = `events.${QUEUE}.${hashOf("over")}.1`;
    expect(await events(hashOf("over"))).toEqual({ [`${prefix}.created`]: 1, [`${prefix}.${state}`]: 1 });
    expect(await bench.count("DLQ", ">")).toBe(entries);
    expect(await bench.holds(delivered.source)).toBe(false);
    const copy = await publishAndDispatch(hello("over"));
    expect(await events(hashOf("over"))).toMatchObject({ [`${prefix}.duplicate`]: 1, [`${prefix}.${state}`]: 1 });
    expect(await bench.holds(copy.source)).toBe(false);
    expect(cluster.jobOf(hashOf("over")).metadata?.uid).toBe(uid);
  });
});

describe("D8: the cluster says no", () => {
  it.each([
    ["401", { status: 401, reason: "Unauthorized", message: "" }],
    ["403", { status: 403, reason: "Forbidden", message: "exceeded quota" }],
    ["404 of the namespace", { status: 404, reason: "NotFound", message: 'namespaces "jobs" not found' }],
    ["409 that is no AlreadyExists", { status: 409, reason: "Conflict", message: "the object has been modified" }],
    ["429", { status: 429, reason: "TooManyRequests", message: "" }],
    ["500", { status: 500, reason: "InternalError", message: "etcdserver: request timed out" }],
    ["503", { status: 503, reason: "ServiceUnavailable", message: "" }],
  ])("%s: held, never acknowledged, nobody's fault", async (_what, refusal) => {
    cluster.refusal = refusal;
    const delivered = await publishAndDispatch(hello("blocked"));
    expect(await payloads(delivered.source)).toEqual([expect.stringMatching(/^-NAK/)]);
    expect(await bench.holds(delivered.source)).toBe(true);
    expect(await bench.count("DLQ", ">")).toBe(0);
    expect(await bench.count("EVENTS", ">")).toBe(0);
    expect((await bench.manager.consumers.info("JOBS", consumerName(QUEUE))).num_ack_pending).toBe(1);
  });

  it("no answer at all: held; the Job that may have been made is found by its name", async () => {
    await cluster.server[Symbol.asyncDispose]();
    const delivered = await publishAndDispatch(hello("unanswered"));
    expect(await payloads(delivered.source)).toEqual([expect.stringMatching(/^-NAK/)]);
    expect(await bench.holds(delivered.source)).toBe(true);
    cluster = await FakeCluster.start();
  });
});
