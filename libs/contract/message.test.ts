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

  it.each(["configmap", "configMap"])("%s and envFrom are the seeds' other names", (type) => {
    const { envRef: _old, ...job } = seedMessage.job;
    const outcome = parse({ ...seedMessage, job: { ...job, envFrom: [{ name: "c", type }] } });
    expect(outcome).toMatchObject({ kind: "ok", value: { job: { envFrom: [{ name: "c", type: "configMap" }] } } });
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
    ["a relative mount path", withJob({ volume: { mountPath: "data", pvc: "p" } }), "job.volume.mountPath"],
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
    };
    expect(parse(message)).toEqual({ kind: "ok", value: { shape: "template", ...message } });
  });

  it.each([
    ["no template", {}, "template"],
    ["a template that is no string", { template: 1 }, "template"],
    ["an empty template", { template: "" }, "template"],
    ["params that are a list", { template: "t", params: [] }, "params"],
    ["an unknown field", { template: "t", param: {} }, "param"],
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
