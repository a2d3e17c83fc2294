import { describe, expect, it } from "vitest";
import { recordIn } from "../../libs/contract/testing/records.ts";
import { type Evidence, type SeenEvent, type SeenJob, violations, violationsAtRest } from "./oracle.ts";

const record = recordIn("succeeded");
const { hash, queue } = record;
const KEY = "JOBS-5-1758000000000000005";
const event = (attempt: number, kind: string, source = "uid-1", data: Record<string, unknown> = {}): SeenEvent => ({
  subject: `events.${queue}.${hash}.${attempt}.${kind}`,
  source,
  time: "2026-01-01T00:00:00Z",
  data: { life: 1, ...data },
});
const job = (attempt: number, uid: string, live = false): SeenJob => ({ hash, attempt, life: 1, uid, createdAt: "", live });
const message = { stream: "JOBS", subject: `jobs.${queue}.hello`, key: KEY, hash, messageHash: record.messageHash };
const deadLetter = { subject: "", source: "uid-1", hash, attempt: 1, life: 1 };
const created = event(1, "created", "uid-1", { message: {} });

const succeeded: Evidence = {
  published: [{ hash, key: KEY }],
  events: [created, event(1, "started"), event(1, "succeeded")],
  deadLetters: [],
  records: [record],
  messages: [],
  jobs: [job(1, "uid-1")],
};
const dead: Evidence = {
  ...succeeded,
  events: [created, event(1, "dead")],
  deadLetters: [deadLetter],
  records: [{ ...record, state: "dead" }],
};
const running: Evidence = {
  ...succeeded,
  events: [created],
  records: [recordIn("running")],
  messages: [message],
  jobs: [job(1, "uid-1", true)],
};

describe("the oracle finds nothing wrong", () => {
  it.each([
    ["with a job that succeeded", succeeded],
    ["with a job that is dead", dead],
  ])("%s", (_what, evidence) => expect(violationsAtRest(evidence)).toEqual([]));

  it("with a job that runs, as long as it is not at rest", () => {
    expect(violations(running)).toEqual([]);
    expect(violationsAtRest(running).map(({ rule }) => rule)).toContain("rest");
  });

  it("with a message that was rejected", () => {
    const rejected = { ...deadLetter, source: KEY, hash: undefined };
    expect(violationsAtRest({ ...succeeded, events: [], deadLetters: [rejected], records: [], jobs: [] })).toEqual([]);
  });
});

describe("the oracle knows that", () => {
  it("a duplicate of a message that was rejected later is no lost message", () => {
    const refused = { ...deadLetter, source: "JOBS-4-1", hash: undefined };
    const published = [...succeeded.published, { hash, key: "JOBS-4-1" }];
    const evidence = { ...succeeded, published, events: [], deadLetters: [refused], records: [], jobs: [] };
    expect(violations(evidence).map(({ rule }) => rule)).toEqual(["I3"]);
    expect(violations({ ...evidence, events: [event(1, "duplicate", KEY)] })).toEqual([]);
  });
});

describe("the oracle sees that", () => {
  it.each<[string, string, Evidence]>([
    [
      "I1",
      "an attempt was settled for two Jobs",
      { ...succeeded, events: [...succeeded.events, event(1, "succeeded", "uid-2")] },
    ],
    ["I2", "an attempt ended in two ways", { ...succeeded, events: [...succeeded.events, event(1, "retrying")] }],
    [
      "I2",
      "an attempt counts after its life had ended",
      { ...succeeded, events: [...succeeded.events, event(2, "started", "uid-2")] },
    ],
    [
      "I2",
      "two recorded attempts live",
      {
        ...running,
        records: [
          {
            ...recordIn("running"),
            attempts: [
              { n: 1, uid: "uid-1" },
              { n: 2, uid: "uid-2" },
            ],
          },
        ],
        jobs: [job(1, "uid-1", true), job(2, "uid-2", true)],
      },
    ],
    ["I3", "a message is gone and nothing is known of it", { ...succeeded, events: [], records: [], jobs: [] }],
    ["I3", "a message is gone while its job runs", { ...running, messages: [] }],
    ["I3", "a message is gone and its job's event is missing", { ...succeeded, events: [created] }],
    ["I3", "a message is gone and its dead letter is missing", { ...dead, deadLetters: [] }],
    ["I3", "a retry is gone and nothing keeps its bytes", { ...succeeded, events: [], records: [recordIn("retrying")] }],
    ["I4", "a life is twice in the DLQ", { ...dead, deadLetters: [deadLetter, deadLetter] }],
    ["I4", "a dead life is not in the DLQ", { ...dead, deadLetters: [] }],
    ["I4", "a job that lives is in the DLQ", { ...running, deadLetters: [deadLetter] }],
    ["I5", "another Job than the recorded one was settled", { ...succeeded, events: [created, event(1, "succeeded", "uid-2")] }],
    ["I5", "an attempt was settled from the Job of another", { ...succeeded, jobs: [job(2, "uid-1")] }],
    ["I7", "a life ended twice", { ...succeeded, events: [...succeeded.events, event(1, "succeeded")] }],
  ])("%s: %s", (rule, _what, evidence) => expect(violations(evidence).map((violation) => violation.rule)).toContain(rule));

  it.each<[string, string, Evidence]>([
    ["rest", "a message waits", { ...succeeded, messages: [message] }],
    ["rest", "a message waits that has no identity", { ...succeeded, messages: [{ ...message, hash: undefined }] }],
    ["rest", "a Job lives", { ...succeeded, jobs: [job(1, "uid-1", true)] }],
    ["rest", "a job has not ended", { ...succeeded, events: [created], records: [recordIn("retrying")] }],
    ["I7", "a life before has no end", { ...succeeded, records: [{ ...record, life: 2 }] }],
  ])("%s, at rest: %s", (rule, _what, evidence) => {
    expect(violationsAtRest(evidence).map((violation) => violation.rule)).toContain(rule);
  });
});
