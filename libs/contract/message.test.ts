import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type JobMessage, type Outcome, parseMessage, pathText } from "./message.ts";
import { messageId, openMessage } from "./message-identity.ts";
import { seedMessage } from "./testing/seed-message.ts";

const encode = (value: unknown): Uint8Array =>
  new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const source = { stream: "JOBS", seq: 3, storedAt: "99" };

function parse(value: unknown): Outcome<JobMessage> {
  const opened = openMessage(encode(value));
  return opened.kind === "rejected" ? opened : parseMessage(opened.value);
}
function rejection(value: unknown) {
  const outcome = parse(value);
  return outcome.kind === "rejected" ? outcome.rejection : undefined;
}
const withJob = (fields: Readonly<Record<string, unknown>>) => ({ ...seedMessage, job: { ...seedMessage.job, ...fields } });

describe("design §4.1: the raw shape", () => {
  it("takes seed 001's message as its README prints it, every field", () => {
    const outcome = parse(seedMessage);
    const { envRef: _old, ...job } = seedMessage.job;
    expect(outcome).toEqual({
      kind: "ok",
      value: { shape: "raw", ...seedMessage, job: { ...job, envRef: [{ name: "configmap-name", type: "configMap" }] } },
    });
  });

  it.each(["configmap", "configMap"])("A25: %s and envFrom are the seeds' other names", (type) => {
    const { envRef: _old, ...job } = seedMessage.job;
    const outcome = parse({ ...seedMessage, job: { ...job, envFrom: [{ name: "c", type }] } });
    expect(outcome).toMatchObject({ kind: "ok", value: { job: { envFrom: [{ name: "c", type: "configMap" }] } } });
  });

  it("seed 003's relative mount path is the absolute one that the kubelet makes of it", () => {
    expect(parse(withJob({ volume: { mountPath: "workdir", pvc: "p" } }))).toMatchObject({
      kind: "ok",
      value: { job: { volume: { mountPath: "/workdir" } } },
    });
  });

  it("an empty service account is the default one", () => {
    expect(parse(withJob({ serviceAccount: "" }))).toMatchObject({ kind: "ok", value: { job: { serviceAccount: "default" } } });
  });

  it("needs no more than prefixName, namespace and image", () => {
    expect(parse({ job: { prefixName: "p", namespace: "n", image: "i" } }).kind).toBe("ok");
  });

  it.each(["prefixName", "namespace", "image"])("needs %s", (field) => {
    expect(rejection(withJob({ [field]: undefined }))).toMatchObject({ code: "JOB_SPEC_INVALID", path: `job.${field}` });
  });

  it.each([
    ["an unknown field", { ...seedMessage, sevice: "x" }, "sevice"],
    ["an unknown field of the job", withJob({ hostNetwork: true }), "job.hostNetwork"],
    [
      "an unknown field deep below",
      withJob({
        env: [
          { name: "A", value: "b" },
          { name: "B", value: "c", from: 1 },
        ],
      }),
      "job.env[1].from",
    ],
    ["an env value that is no string", withJob({ env: [{ name: "A", value: 1 }] }), "job.env[0].value"],
    ["an env of ours", withJob({ env: [{ name: "MILLRACE_JOB_ID", value: "x" }] }), "job.env[0].name"],
    ["a forged trace", withJob({ env: [{ name: "TRACEPARENT", value: "x" }] }), "job.env[0].name"],
    ["an env name with =", withJob({ env: [{ name: "A=B", value: "x" }] }), "job.env[0].name"],
    ["NUL in an env value", withJob({ env: [{ name: "A", value: "x\0" }] }), "job.env[0].value"],
    ["NUL in the command", withJob({ command: ["sh", "\0"] }), "job.command[1]"],
    ["an unknown kind of env source", withJob({ envRef: [{ name: "c", type: "Secret" }] }), "job.envRef[0].type"],
    ["two names of one field", withJob({ envFrom: [{ name: "c", type: "secret" }] }), "job.envFrom"],
    ["a quantity that is none", withJob({ resources: { limits: { memory: "1GB" } } }), "job.resources.limits.memory"],
    ["a deadline of zero", withJob({ activeDeadlineSeconds: 0 }), "job.activeDeadlineSeconds"],
    ["a fractional ttl", withJob({ ttlSecondsAfterFinished: 1.5 }), "job.ttlSecondsAfterFinished"],
    ["a negative backoffLimit", withJob({ backoffLimit: -1 }), "job.backoffLimit"],
    ["a mount path with ':'", withJob({ volume: { mountPath: "/data:ro", pvc: "p" } }), "job.volume.mountPath"],
    ["a start time, which seed 001 does not know", { ...seedMessage, runAt: "2026-01-31T08:00:00Z" }, "runAt"],
    ["a webhook that is no http URL", { ...seedMessage, webhook: { url: "file:///etc/passwd" } }, "webhook.url"],
    ["a job that is a list", { job: [] }, "job"],
    ["both shapes at once", { ...seedMessage, template: "hello" }, "template"],
  ])("%s is refused and named", (_what, message, path) => {
    expect(rejection(message)).toMatchObject({ code: "JOB_SPEC_INVALID", path });
  });
});

describe("design §4.1: the template shape", () => {
  it("takes every field", () => {
    const message = {
      id: "a",
      template: "resize",
      params: { x: 1, deep: [{ y: null }] },
      webhook: { url: "https://a.b" },
      service: "s",
      runAt: "2026-01-31T09:00:00.5+01:00",
    };
    expect(parse(message)).toEqual({ kind: "ok", value: { shape: "template", ...message } });
  });

  it.each([
    ["no template", {}, "template"],
    ["a template that is no string", { template: 1 }, "template"],
    ["an empty template", { template: "" }, "template"],
    ["params that are a list", { template: "t", params: [] }, "params"],
    ["an unknown field", { template: "t", param: {} }, "param"],
    ["a start time without offset", { template: "t", runAt: "2026-01-31T08:00:00" }, "runAt"],
    ["a start on a day that is none", { template: "t", runAt: "2026-02-30T08:00:00Z" }, "runAt"],
    ["a start time in seconds", { template: "t", runAt: 1769846400 }, "runAt"],
  ])("%s is refused and named", (_what, message, path) => {
    expect(rejection(message)).toMatchObject({ code: "JOB_SPEC_INVALID", path });
  });
});

describe("D1: what must be read before the record", () => {
  it.each([
    ["malformed JSON", '{"template":', "BODY_INVALID", ""],
    ["a list", "[]", "BODY_INVALID", ""],
    ["a string", '"hello"', "BODY_INVALID", ""],
    ["null", "null", "BODY_INVALID", ""],
    ["__proto__", '{"template":"hello","__proto__":{}}', "BODY_INVALID", ""],
    ["an id of 300 characters", { id: "x".repeat(300), template: "hello" }, "ID_INVALID", "id"],
    ["an empty id", { id: "", template: "hello" }, "ID_INVALID", "id"],
    ["a numeric id", { id: 7, template: "hello" }, "ID_INVALID", "id"],
    ["an id with NUL", { id: "a\0b", template: "hello" }, "ID_INVALID", "id"],
    ["an id that is no Unicode", '{"id":"\\ud800","template":"hello"}', "ID_INVALID", "id"],
    ["1 MiB", { template: "hello", params: { x: "y".repeat(1024 * 1024) } }, "BODY_TOO_LARGE", ""],
  ])("%s is refused", (_what, body, code, path) => {
    expect(openMessage(encode(body))).toMatchObject({ kind: "rejected", rejection: { code, path } });
  });

  it("a template that is gone or invalid does not matter yet", () => {
    expect(openMessage(encode({ id: "a", whatever: 1 }))).toMatchObject({ kind: "ok", value: { id: "a" } });
  });

  it("the limit counts bytes and is inclusive", () => {
    const body = encode({ id: "é".repeat(10) });
    expect(openMessage(body, [], body.length).kind).toBe("ok");
    expect(openMessage(body, [], body.length - 1).kind).toBe("rejected");
  });

  it("any body is either opened or refused, and no reason holds what the producer wrote", () => {
    const secret = "s3cr3t-payload";
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.constantFrom("id", "template", "params", "job", "webhook", "service", "x"),
        (value, field) => {
          const outcome = parse({ template: "t", [field]: [value, secret] });
          if (outcome.kind === "rejected") expect(outcome.rejection.reason).not.toContain(secret);
        },
      ),
    );
  });
});

describe("the seed's flaws of reading messages", () => {
  const texts = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.constantFrom("1.0", "application/cloudevents+json", "%ff"),
  );
  const header = fc.tuple(
    fc.oneof(texts, fc.constantFrom("ce-specversion", "Ce-Id", "ce-source", "ce-type", "content-type", "ce-__proto__")),
    fc.array(texts, { maxLength: 2 }),
  );
  const near = fc.record(
    {
      specversion: fc.oneof(fc.constant("1.0"), fc.jsonValue()),
      id: fc.oneof(fc.constant("a"), fc.jsonValue()),
      source: fc.constant("s"),
      type: fc.constant("t"),
      data: fc.oneof(fc.jsonValue(), fc.constant({ template: "t" }), fc.constant(seedMessage)),
      data_base64: fc.oneof(fc.base64String(), fc.jsonValue()),
      template: fc.jsonValue(),
      job: fc.jsonValue(),
    },
    { requiredKeys: [] },
  );
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.json().map((text) => encode(text)),
    near.map((value) => encode(JSON.stringify(value))),
  );

  it("A7: whatever bytes and headers arrive, they are a message or a rejection, never a panic", () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(body, fc.array(header, { maxLength: 6 }), (bytes, headers) => {
        const opened = openMessage(bytes, headers);
        const outcome = opened.kind === "ok" ? parseMessage(opened.value) : opened;
        seen.add(outcome.kind === "ok" ? "ok" : outcome.rejection.code);
        if (opened.kind === "ok") expect(["ok", "rejected"]).toContain(messageId(opened.value, "", source).kind);
      }),
      { seed: 20261122, numRuns: 3_000 },
    );
    expect([...seen]).toEqual(
      expect.arrayContaining(["ok", "BODY_INVALID", "CLOUD_EVENT_INVALID", "ID_INVALID", "JOB_SPEC_INVALID"]),
    );
  });

  it("A7: a job with any value in any field is accepted or refused at that field", () => {
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(seedMessage.job)), fc.jsonValue({ maxDepth: 3 }), (field, value) => {
        const outcome = rejection(withJob({ [field]: value }));
        if (outcome?.code === "JOB_SPEC_INVALID") expect(outcome.path.startsWith(`job.${field}`)).toBe(true);
      }),
      { seed: 20261122, numRuns: 1_000 },
    );
  });

  it("A7: a quantity that is none is refused, where the seed's MustParse panicked", () => {
    fc.assert(
      fc.property(fc.string(), (amount) => {
        expect(["ok", "rejected"]).toContain(parse(withJob({ resources: { limits: { cpu: amount } } })).kind);
      }),
      { seed: 20261122, numRuns: 500 },
    );
    expect(rejection(withJob({ resources: { requests: { cpu: "lots" } } }))).toMatchObject({
      path: "job.resources.requests.cpu",
    });
  });

  it("A12: the documented plain JSON is the message; an SQS envelope around it is refused, not read as an empty one", () => {
    expect(parse(seedMessage).kind).toBe("ok");
    expect(rejection({ MessageId: "m", ReceiptHandle: "r", Body: JSON.stringify(seedMessage) })).toMatchObject({
      code: "JOB_SPEC_INVALID",
      path: "template",
    });
  });

  it("A25: the seeds' limits of deadline and ttl are not the message's but the queue's", () => {
    expect(parse(withJob({ activeDeadlineSeconds: 60, ttlSecondsAfterFinished: 31 })).kind).toBe("ok");
  });
});

describe("design §4.1: id = body.id ?? Nats-Msg-Id ?? source", () => {
  it.each([
    ["the body's", { id: "body", template: "t" }, "header", "body"],
    ["the header's", { template: "t" }, "header", "header"],
    ["the source", { template: "t" }, "", "JOBS-3-99"],
  ])("%s", (_what, body, header, expected) => {
    const opened = openMessage(encode(body));
    if (opened.kind === "rejected") throw new Error("refused");
    expect(messageId(opened.value, header, source)).toEqual({ kind: "ok", value: expected });
  });

  it.each(["x".repeat(257), "a\0b", "\udfff"])("an unusable header is refused", (header) => {
    expect(messageId({ id: undefined, eventIdentity: undefined }, header, source)).toMatchObject({
      kind: "rejected",
      rejection: { code: "ID_INVALID", path: "Nats-Msg-Id" },
    });
  });
});

describe("N5: paths fit into headers", () => {
  it("however long and many the producer's keys", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.string({ unit: "binary", maxLength: 5_000 }), fc.nat()), { maxLength: 40 }), (path) => {
        expect(pathText(path).length).toBeLessThanOrEqual(300);
      }),
    );
  });
});
