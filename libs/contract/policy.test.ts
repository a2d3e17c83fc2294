import { describe, expect, it } from "vitest";
import { type RawMessage, rawMessage } from "./message.ts";
import { authorise, globMatches } from "./policy.ts";
import { type QueueConfig, queueConfig } from "./queue-config.ts";
import { seedMessage } from "./testing/seed-message.ts";

type Job = RawMessage["job"];

const job = (fields: Readonly<Record<string, unknown>> = {}): Job =>
  rawMessage.parse({ job: { prefixName: "p", namespace: "jobs", image: "busybox:latest", ...fields } }).job;
const queue = (policy: Readonly<Record<string, unknown>>, rest: Readonly<Record<string, unknown>> = {}): QueueConfig =>
  queueConfig.parse({ policy: { raw: true, ...policy }, ...rest });
const outcome = (given: Job, config: QueueConfig): string => {
  const answer = authorise(given, config, "jobs");
  return answer.kind === "ok" ? "ok" : answer.rejection.path;
};

describe("A22, design §4.1: whatever the policy does not list is refused", () => {
  it("raw messages are off by default", () => {
    expect(authorise(job(), queueConfig.parse({}), "jobs")).toMatchObject({
      kind: "rejected",
      rejection: { code: "POLICY_DENIED", path: "job" },
    });
  });

  it("a plain message of the queue's own namespace passes", () => {
    expect(outcome(job(), queue({}))).toBe("ok");
  });

  const table: readonly [string, Readonly<Record<string, unknown>>, string, Readonly<Record<string, unknown>>][] = [
    ["namespace", { namespace: "kube-system" }, "job.namespace", { namespaces: ["kube-system"] }],
    ["serviceAccount", { serviceAccount: "admin" }, "job.serviceAccount", { serviceAccounts: ["admin"] }],
    ["configMap", { envRef: [{ name: "c", type: "configmap" }] }, "job.envRef[0]", { envRefs: ["configMap/c"] }],
    ["secret", { envFrom: [{ name: "s", type: "secret" }] }, "job.envRef[0]", { envRefs: ["secret/s"] }],
    ["pvc", { volume: { mountPath: "/d", pvc: "p" } }, "job.volume.pvc", { pvcs: ["p"] }],
    ["gpu", { gpuEnable: true, gpuNumber: 2 }, "job.gpuNumber", { gpu: 2 }],
    ["gpu without a number is one", { gpuEnable: true }, "job.gpuNumber", { gpu: 1 }],
    [
      "another resource",
      { resources: { limits: { "ephemeral-storage": "1Gi" } } },
      "job.resources.limits.ephemeral-storage",
      { ceiling: { "ephemeral-storage": "1Gi" } },
    ],
    ["limit", { resources: { limits: { cpu: "4001m" } } }, "job.resources.limits.cpu", { ceiling: { cpu: "5" } }],
    [
      "request",
      { resources: { requests: { memory: "8193Mi" } } },
      "job.resources.requests.memory",
      { ceiling: { memory: "9Gi" } },
    ],
    [
      "a resource named like a property of every object",
      { resources: { limits: { constructor: "0" } } },
      "job.resources.limits.constructor",
      { ceiling: { constructor: "1" } },
    ],
  ];
  it.each(table)("%s is denied", (_what, fields, path) => {
    expect(outcome(job(fields), queue({}))).toBe(path);
  });
  it.each(table)("%s is allowed once it is listed", (_what, fields, _path, policy) => {
    expect(outcome(job(fields), queue(policy))).toBe("ok");
  });

  it("images: * by default, else one of the patterns", () => {
    expect(outcome(job({ image: "anything" }), queue({}))).toBe("ok");
    expect(outcome(job({ image: "evil/x" }), queue({ images: ["registry.local/*"] }))).toBe("job.image");
    expect(outcome(job({ image: "registry.local/a/b:1" }), queue({ images: ["registry.local/*"] }))).toBe("ok");
    expect(outcome(job(), queue({ images: [] }))).toBe("job.image");
  });

  it("the account named default is always allowed: its token is not mounted", () => {
    expect(outcome(job({ serviceAccount: "default" }), queue({}))).toBe("ok");
  });

  it("a permission for a ConfigMap is none for the Secret of that name", () => {
    expect(outcome(job({ envRef: [{ name: "c", type: "secret" }] }), queue({ envRefs: ["configMap/c"] }))).toBe("job.envRef[0]");
  });

  it("gpuNumber counts only with gpuEnable", () => {
    expect(outcome(job({ gpuEnable: false, gpuNumber: 4 }), queue({}))).toBe("ok");
    expect(outcome(job({ gpuNumber: 4 }), queue({}))).toBe("ok");
  });

  it("the longest deadline is inclusive", () => {
    const config = queue({}, { deadlineMax: "2h" });
    expect(outcome(job({ activeDeadlineSeconds: 7200 }), config)).toBe("ok");
    expect(outcome(job({ activeDeadlineSeconds: 7201 }), config)).toBe("job.activeDeadlineSeconds");
  });

  it("seed 001's message runs where everything that it names is listed", () => {
    const config = queue({ namespaces: ["default"], envRefs: ["configMap/configmap-name"], pvcs: ["persistent-volume-claim"] });
    expect(outcome(rawMessage.parse(seedMessage).job, config)).toBe("ok");
  });
});

describe("image patterns", () => {
  it.each([
    ["*", "", true],
    ["a*c", "abbc", true],
    ["a*c", "abbd", false],
    ["a.c", "abc", false],
    ["a+(b)", "a+(b)", true],
    ["registry/*:1", "registry/x:1\n", false],
    ["b", "abc", false],
  ])("%s on %j", (pattern, text, matches) => {
    expect(globMatches(pattern, text)).toBe(matches);
  });
});
