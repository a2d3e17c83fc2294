import { describe, expect, it } from "vitest";
import { pathText } from "./message.ts";
import { dispatchConfig, queueConfig } from "./queue-config.ts";

const problems = (value: unknown): string[] => {
  const parsed = dispatchConfig.safeParse(value);
  return parsed.success ? [] : parsed.error.issues.map(({ path }) => pathText(path));
};
const queue = (fields: Readonly<Record<string, unknown>>) => ({ queues: { default: fields } });
const template = (fields: Readonly<Record<string, unknown>>) => ({ queues: {}, templates: { t: fields } });

describe("design §4.6: the defaults of a queue", () => {
  it("are safe: templates only, bounded time, restricted pods", () => {
    expect(queueConfig.parse({})).toEqual({
      slots: 100,
      weight: 1,
      namespace: "",
      deadline: 3_600_000,
      deadlineMax: 86_400_000,
      startTimeout: 600_000,
      pullTimeout: { refused: 120_000, failing: 300_000 },
      retry: {
        attempts: 3,
        backoff: { initial: 10_000, factor: 2, max: 3_600_000 },
        oom: { factor: 1.5, limit: "4Gi" },
        freeLimit: 20,
        freeBackoff: { initial: 10_000, max: 300_000 },
        nonRetryableExitCodes: [64],
        classes: {},
      },
      nodeLoss: "fast",
      logTail: "64Ki",
      policy: {
        raw: false,
        namespaces: [],
        images: ["*"],
        serviceAccounts: [],
        ceiling: { cpu: "4", memory: "8Gi" },
        envRefs: [],
        pvcs: [],
        gpu: 0,
        podSecurity: "restricted",
      },
      keep: { succeeded: 300_000, failed: 3_600_000 },
      imagePullSecrets: [],
    });
  });
});

describe("design §4.6: what cannot be used is named", () => {
  it.each([
    ["a queue name with a dot", { queues: { "a.b": {} } }, "queues.a.b"],
    ["a queue name of 41 characters", { queues: { ["a".repeat(41)]: {} } }, `queues.${"a".repeat(41)}`],
    ["slots of 0, which NATS reads as 1000", queue({ slots: 0 }), "queues.default.slots"],
    ["retrySlots of 0, which NATS reads as 1000", queue({ retrySlots: 0 }), "queues.default.retrySlots"],
    ["no attempt at all", queue({ retry: { attempts: 0 } }), "queues.default.retry.attempts"],
    ["a memory factor that gives no more", queue({ retry: { oom: { factor: 1 } } }), "queues.default.retry.oom.factor"],
    ["an unknown failure class", queue({ retry: { classes: { tired: "free" } } }), "queues.default.retry.classes"],
    ["a log tail that no entry holds", queue({ logTail: "1Mi" }), "queues.default.logTail"],
    ["a fraction of a slot", queue({ slots: 1.5 }), "queues.default.slots"],
    ["a deadline without a unit", queue({ deadline: "60" }), "queues.default.deadline"],
    ["a deadline as a number", queue({ deadline: 60 }), "queues.default.deadline"],
    ["a deadline of zero", queue({ deadline: "0s" }), "queues.default.deadline"],
    ["a deadline above the longest", queue({ deadline: "25h" }), "queues.default.deadline"],
    ["a namespace that is none", queue({ namespace: "Jobs" }), "queues.default.namespace"],
    ["an unknown field", queue({ slot: 1 }), "queues.default"],
    ["an unknown field of the policy", queue({ policy: { rwa: true } }), "queues.default.policy"],
    ["a ceiling that is no quantity", queue({ policy: { ceiling: { cpu: "much" } } }), "queues.default.policy.ceiling.cpu"],
    ["podSecurity privileged", queue({ policy: { podSecurity: "privileged" } }), "queues.default.policy.podSecurity"],
    ["a template without image and podSpec", template({}), "templates.t.image"],
    ["a template with both", template({ image: "a", podSpec: {} }), "templates.t.image"],
    ["a template name that is none", { queues: {}, templates: { "T 1": { image: "a" } } }, "templates.T 1"],
  ])("%s", (_what, config, path) => {
    expect(problems(config)).toEqual([path]);
  });

  it("a deadline may equal the longest", () => {
    expect(problems(queue({ deadline: "24h", deadlineMax: "24h" }))).toEqual([]);
  });

  it("no queue at all is a configuration", () => {
    expect(problems({ queues: {} })).toEqual([]);
  });
});
