import { afterAll, beforeAll, expect, it } from "vitest";
import { Installation, NOTHING } from "./harness/installation.ts";

let millrace: Installation;
beforeAll(async () => {
  millrace = await Installation.open();
});
afterAll(async () => {
  await millrace[Symbol.asyncDispose]();
});

const rawFor = (namespace: string): string =>
  JSON.stringify({ id: "bad-raw", job: { prefixName: "x", namespace, image: "busybox:latest" } });

/** Name, body, the code, and what the reason must name. */
const BAD: readonly [string, string | Uint8Array, string, RegExp][] = [
  ["malformed JSON", '{"template": "hello", ', "BODY_INVALID", /not JSON/],
  ["an unknown template", '{"id":"bad-template","template":"nope"}', "TEMPLATE_UNKNOWN", /^template: /],
  ["an unknown field", '{"template":"hello","params":{"name":"x"},"sudo":true}', "JOB_SPEC_INVALID", /^sudo: unknown field/],
  ["a body of 1 MiB", `{"template":"hello","params":{"name":"${"x".repeat(1024 * 1024 - 46)}"}}`, "BODY_TOO_LARGE", /bytes/],
  [
    "an id of 300 characters",
    JSON.stringify({ id: "i".repeat(300), template: "hello", params: { name: "x" } }),
    "ID_INVALID",
    /^id: /,
  ],
  ["__proto__", '{"template":"hello","params":{"name":"x","__proto__":{"a":1}}}', "BODY_INVALID", /__proto__/],
  ["a parameter of the wrong type", '{"template":"hello","params":{"name":7}}', "PARAMS_INVALID", /^params\.name: /],
  ["a raw message for a forbidden namespace", rawFor("kube-system"), "POLICY_DENIED", /^job\.namespace: /],
  ["invalid UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d), "BODY_INVALID", /UTF-8/],
  ["duplicate keys", '{"template":"hello","template":"other"}', "BODY_INVALID", /twice/],
];

it("D11: each bad body is in the DLQ once, with its raw bytes and a reason that names the path; nothing restarts; the next good message runs", async () => {
  const restarts = await millrace.restarts();
  const sources = await Promise.all(BAD.map(([, body]) => millrace.publish("jobs.default.bad", body)));
  await millrace.publish("jobs.default.hello", { id: "after-bad", template: "hello", params: { name: "good" } });
  await millrace.events.waitFor(
    "rejections",
    (event) => event.kind === "rejected" && sources.some((source) => event.source.startsWith(source)),
    BAD.length,
  );
  const entries = await millrace.deadLetters();
  for (const [index, [name, body, code, reason]] of BAD.entries()) {
    const found = entries.filter(({ subject }) => subject.includes(`.${sources[index]}`));
    expect(found, name).toHaveLength(1);
    expect(found[0]?.code, name).toBe(code);
    expect(found[0]?.reason, name).toMatch(reason);
    expect(found[0]?.body.equals(Buffer.from(body)), `${name}: raw bytes`).toBe(true);
  }
  expect((await millrace.outcome("after-bad")).state).toBe("succeeded");
  expect(await millrace.restarts()).toBe(restarts);
});

it("D3: the same id with another body is rejected and the job of that id is untouched", async () => {
  await millrace.publish("jobs.default.hello", { id: "taken", template: "hello", params: { name: "first" } });
  await millrace.outcome("taken");
  const before = await millrace.record("taken");
  const source = await millrace.publish("jobs.default.hello", { id: "taken", template: "hello", params: { name: "second" } });
  await millrace.events.waitFor("the conflict", (event) => event.kind === "rejected" && event.source.startsWith(source));
  expect(await millrace.record("taken")).toEqual(before);
  expect((await millrace.deadLetters()).filter(({ id }) => id === "taken")).toMatchObject([{ code: "ID_CONFLICT" }]);
});

it("a message that no queue takes, or without a type, is reported and reaches the DLQ", async () => {
  const sources = [await millrace.publish("jobs.nobody.hello", "{}"), await millrace.publish("jobs.default", "{}")];
  await millrace.events.waitFor(
    "rejections",
    (event) => event.kind === "rejected" && sources.some((source) => event.source.startsWith(source)),
    2,
  );
  const entries = (await millrace.deadLetters()).filter(({ subject }) =>
    sources.some((source) => subject.includes(`.${source}`)),
  );
  expect(entries.map(({ code }) => code)).toEqual(["UNKNOWN_QUEUE", "UNKNOWN_QUEUE"]);
});

it("N4: headers that claim to be Millrace's mean nothing in JOBS", async () => {
  const forged = { "Millrace-Id": '"somebody-else"', "Millrace-Attempt": "7", "Millrace-Life": "3", "Millrace-Memory": "64Gi" };
  await millrace.publish("jobs.default.hello", { id: "forged", template: "hello", params: { name: "x" } }, forged);
  expect(await millrace.outcome("forged")).toMatchObject({ attempt: 1, life: 1, state: "succeeded" });
  expect(await millrace.record("somebody-else")).toBeUndefined();
});

it("leaves nothing behind", async () => {
  await expect.poll(() => millrace.leftovers(), { timeout: 60_000 }).toEqual(NOTHING);
});
