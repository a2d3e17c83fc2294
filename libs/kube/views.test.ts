import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { judge } from "../contract/verdict.ts";
import { parseDispatchConfig } from "./dispatch-config-source.ts";
import { jobView, podView } from "./views.ts";

/** As it comes over the wire, which the generated types do not describe. */
const job = (wire: object): V1Job => wire as V1Job;
const pod = (wire: object): V1Pod => wire as V1Pod;

describe("J1: what is kept of a Job", () => {
  it("identity, and its end", () => {
    const metadata = {
      namespace: "jobs",
      name: "a",
      uid: "u",
      creationTimestamp: "2026-01-01T00:00:00Z",
      labels: { l: "1" },
      annotations: { a: "2" },
    };
    const conditions = [
      { type: "SuccessCriteriaMet", status: "True", lastTransitionTime: "2026-01-01T00:00:01Z" },
      { type: "Complete", status: "True", lastTransitionTime: "2026-01-01T00:00:02Z" },
    ];
    expect(jobView(job({ metadata, spec: {}, status: { conditions, completionTime: "2026-01-01T00:00:03Z" } }))).toEqual({
      namespace: "jobs",
      name: "a",
      uid: "u",
      labels: { l: "1" },
      annotations: { a: "2" },
      createdAt: "2026-01-01T00:00:00Z",
      completedAt: "2026-01-01T00:00:03Z",
      deleting: false,
      suspended: false,
      memoryLimits: {},
    });
  });

  it.each<readonly [string, object, number | undefined]>([
    ["not come to yet", {}, undefined],
    ["tried in vain", { startTime: "2026-01-01T00:00:01Z", ready: 0, uncountedTerminatedPods: {} }, 0],
    ["active", { startTime: "2026-01-01T00:00:01Z", active: 1 }, 1],
    ["ended, not counted yet", { startTime: "2026-01-01T00:00:01Z", uncountedTerminatedPods: { failed: ["u"] } }, 1],
    ["ended", { startTime: "2026-01-01T00:00:01Z", succeeded: 1, failed: 1, terminating: 1 }, 3],
  ])("pods that its controller has counted: %s", (_what, status, podCount) => {
    expect(jobView(job({ status })).podCount).toBe(podCount);
  });

  it("a Stop and its class, memory limits of all containers, and that it is about to fail", () => {
    const limited = (name: string, memory: string) => ({ name, resources: { limits: { memory } } });
    const view = jobView(
      job({
        metadata: { annotations: { "millrace.dev/stop": "evicted" } },
        spec: {
          suspend: true,
          template: {
            spec: { containers: [limited("main", "64Mi"), { name: "free" }], initContainers: [limited("fetch", "1Gi")] },
          },
        },
        status: {
          conditions: [
            { type: "FailureTarget", status: "True", reason: "PodFailurePolicy", lastTransitionTime: "2026-01-01T00:00:01Z" },
          ],
        },
      }),
    );
    expect(view).toMatchObject({
      suspended: true,
      stop: "evicted",
      failureTarget: { at: "2026-01-01T00:00:01Z", reason: "PodFailurePolicy" },
    });
    expect(view.memoryLimits).toEqual({ main: "64Mi", fetch: "1Gi" });
  });

  it.each([
    ["no status at all", {}],
    ["FailureTarget only", { status: { conditions: [{ type: "FailureTarget", status: "True" }] } }],
    [
      "conditions that are not true",
      {
        status: {
          conditions: [
            { type: "Complete", status: "False" },
            { type: "Failed", status: "Unknown" },
          ],
        },
      },
    ],
    ["suspended", { status: { conditions: [{ type: "Suspended", status: "True" }] } }],
  ])("%s is no end", (_what, wire) => {
    expect(judge(jobView(job(wire)), [])).toEqual({ kind: "live" });
  });

  it("Failed keeps reason and time", () => {
    const condition = {
      type: "Failed",
      status: "True",
      reason: "DeadlineExceeded",
      message: "m",
      lastTransitionTime: "2026-01-01T00:00:02Z",
    };
    expect(jobView(job({ status: { conditions: [condition] } })).failed).toEqual({
      at: "2026-01-01T00:00:02Z",
      reason: "DeadlineExceeded",
      message: "m",
    });
  });
});

describe("J1: what is kept of a pod", () => {
  const owner = [{ kind: "Job", uid: "job-uid" }];

  it("owner, node, disruption and how its containers ended", () => {
    const view = podView(
      pod({
        metadata: { namespace: "jobs", name: "p", uid: "pu", creationTimestamp: "2026-01-01T00:00:00Z", ownerReferences: owner },
        spec: { nodeName: "n1" },
        status: {
          phase: "Failed",
          reason: "Evicted",
          conditions: [{ type: "DisruptionTarget", status: "True", reason: "EvictionByEvictionAPI" }],
          containerStatuses: [
            {
              name: "main",
              state: {
                terminated: {
                  exitCode: 137,
                  reason: "OOMKilled",
                  startedAt: "2026-01-01T00:00:01Z",
                  finishedAt: "2026-01-01T00:00:02Z",
                },
              },
            },
            { name: "side", state: { running: { startedAt: "2026-01-01T00:00:01Z" } } },
            { name: "late", state: { waiting: { reason: "ImagePullBackOff" } } },
          ],
        },
      }),
    );
    expect(view).toEqual({
      namespace: "jobs",
      name: "p",
      uid: "pu",
      jobUid: "job-uid",
      node: "n1",
      phase: "Failed",
      reason: "Evicted",
      disruption: "EvictionByEvictionAPI",
      createdAt: "2026-01-01T00:00:00Z",
      containers: [
        {
          name: "main",
          terminated: {
            exitCode: 137,
            reason: "OOMKilled",
            message: "",
            startedAt: "2026-01-01T00:00:01Z",
            finishedAt: "2026-01-01T00:00:02Z",
          },
        },
        { name: "side", startedAt: "2026-01-01T00:00:01Z" },
        { name: "late", waiting: { reason: "ImagePullBackOff", message: "" } },
      ],
    });
  });

  it("a container whose end the kubelet did not see has null times, and does not stop the watch", () => {
    const view = podView(
      pod({
        metadata: { creationTimestamp: null, ownerReferences: owner },
        status: {
          containerStatuses: [
            {
              name: "main",
              state: { terminated: { exitCode: 137, reason: "ContainerStatusUnknown", startedAt: null, finishedAt: null } },
            },
          ],
        },
      }),
    );
    expect(view.containers).toEqual([
      { name: "main", terminated: { exitCode: 137, reason: "ContainerStatusUnknown", message: "" } },
    ]);
  });

  it("an init container that failed is how the attempt ended", () => {
    const view = podView(
      pod({
        metadata: { ownerReferences: owner },
        status: {
          containerStatuses: [{ name: "main", state: { waiting: { reason: "PodInitializing" } } }],
          initContainerStatuses: [
            { name: "fetch", state: { terminated: { exitCode: 2, reason: "Error", startedAt: null, finishedAt: null } } },
          ],
        },
      }),
    );
    const failed = jobView(
      job({
        status: {
          conditions: [
            { type: "Failed", status: "True", reason: "BackoffLimitExceeded", lastTransitionTime: "2026-01-01T00:00:02Z" },
          ],
        },
      }),
    );
    expect(judge(failed, [view])).toMatchObject({ class: "exit", reason: "container fetch exited with code 2" });
  });

  it("when its deletion was asked for, not when its grace ends", () => {
    const metadata = { deletionTimestamp: "2026-01-01T00:00:40Z", deletionGracePeriodSeconds: 30 };
    expect(podView(pod({ metadata })).deletedAt).toBe("2026-01-01T00:00:10.000Z");
    expect(podView(pod({ metadata: {} }))).not.toHaveProperty("deletedAt");
  });

  it("that no node fits, and why; a scheduling gate is something else", () => {
    const condition = (reason: string) => ({
      type: "PodScheduled",
      status: "False",
      reason,
      message: "0/1 nodes are available",
      lastTransitionTime: "2026-01-01T00:00:01Z",
    });
    expect(podView(pod({ status: { conditions: [condition("Unschedulable")] } })).unschedulable).toEqual({
      since: "2026-01-01T00:00:01Z",
      message: "0/1 nodes are available",
    });
    expect(podView(pod({ status: { conditions: [condition("SchedulingGated")] } }))).not.toHaveProperty("unschedulable");
  });

  it("which containers are init containers, and which of those are sidecars", () => {
    const view = podView(
      pod({
        spec: { containers: [{ name: "main" }], initContainers: [{ name: "fetch" }, { name: "proxy", restartPolicy: "Always" }] },
        status: { containerStatuses: [{ name: "main" }], initContainerStatuses: [{ name: "fetch" }, { name: "proxy" }] },
      }),
    );
    expect(view.containers).toEqual([{ name: "main" }, { name: "fetch", role: "init" }, { name: "proxy", role: "sidecar" }]);
  });

  it("an empty object is a pod of nobody", () => {
    expect(podView(pod({}))).toMatchObject({ jobUid: "", containers: [] });
  });
});

describe("design §4.6: the ConfigMap's text", () => {
  it("becomes queues and templates whose schemas are compiled", () => {
    const config = parseDispatchConfig(
      JSON.stringify({ queues: { default: {} }, templates: { hello: { image: "i", params: { required: ["a"] } } } }),
    );
    expect(config.queues["default"]).toMatchObject({ slots: 100 });
    expect(config.params["hello"]?.check({}).kind).toBe("rejected");
  });

  it.each([
    ["no JSON", "{", "config.json is not JSON"],
    ["nothing", "", "config.json is not JSON"],
    ["an error", '{"queues":{"default":{"slots":0}}}', "queues.default.slots: "],
    ["all errors", '{"queues":{"default":{"slots":0,"deadline":"x"}}}', "queues.default.deadline: "],
    [
      "a schema that does not compile",
      '{"queues":{},"templates":{"t":{"image":"i","params":{"type":"nope"}}}}',
      "templates.t.params: ",
    ],
    [
      "a schema of another host",
      '{"queues":{},"templates":{"t":{"image":"i","params":{"$ref":"http://x/y"}}}}',
      "templates.t.params: ",
    ],
    [
      "a podSpec that cannot be filled",
      '{"queues":{},"templates":{"t":{"podSpec":{"containers":[{"name":"a","command":"ls"}]}}}}',
      "template t: podSpec.containers[0].command: ",
    ],
  ])("%s is refused by path", (_what, text, message) => {
    expect(() => parseDispatchConfig(text)).toThrow(
      expect.objectContaining({ code: "DISPATCH_CONFIG_INVALID", message: expect.stringContaining(message) }),
    );
  });
});

it("a container that was made but never started has no start: containerd writes the epoch", () => {
  const terminated = {
    exitCode: 128,
    reason: "StartError",
    startedAt: "1970-01-01T00:00:00Z",
    finishedAt: "2026-01-01T00:00:09Z",
  };
  const view = podView(pod({ metadata: { uid: "p" }, status: { containerStatuses: [{ name: "main", state: { terminated } }] } }));
  expect(view.containers[0]?.terminated).toEqual({
    exitCode: 128,
    reason: "StartError",
    message: "",
    finishedAt: "2026-01-01T00:00:09Z",
  });
});
