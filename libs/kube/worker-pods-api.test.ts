import type { V1Pod } from "@kubernetes/client-node";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeApiServer, json, refuse } from "./testing/fake-api-server.ts";
import { DELETION_COST, WorkerPodsApi, workerPodView, workerSelector } from "./worker-pods-api.ts";

const pod = { name: "resize-1", uid: "u-1" };
let server: FakeApiServer;
let api: WorkerPodsApi;
let answer: { readonly status: number; readonly reason: string; readonly message: string } | undefined;
beforeEach(async () => {
  answer = undefined;
  server = await FakeApiServer.start(({ response }) => {
    if (answer === undefined) json(response, 200, {});
    else refuse(response, answer.status, answer.reason, answer.message);
  });
  api = new WorkerPodsApi({ client: server.client, namespace: "millrace" });
});
afterEach(() => server[Symbol.asyncDispose]());

describe("the mark of a busy pod", () => {
  it("is merged into its annotations, guarded by its uid, and taken off with null", async () => {
    expect(await api.setDeletionCost(pod, 300)).toBe(true);
    expect(await api.setDeletionCost(pod, undefined)).toBe(true);
    expect(server.asked.map(({ method, path, body }) => ({ method, path, body }))).toEqual(
      ["300", null].map((cost) => ({
        method: "PATCH",
        path: "/api/v1/namespaces/millrace/pods/resize-1",
        body: { metadata: { uid: "u-1", annotations: { [DELETION_COST]: cost } } },
      })),
    );
    expect(server.asked[0]?.headers["content-type"]).toBe("application/merge-patch+json");
  });

  it("of a pod that is gone, or another one of its name, is none", async () => {
    answer = { status: 404, reason: "NotFound", message: "" };
    expect(await api.setDeletionCost(pod, 1)).toBe(false);
    answer = { status: 422, reason: "Invalid", message: "metadata.uid: Invalid value" };
    expect(await api.setDeletionCost(pod, 1)).toBe(false);
    answer = { status: 403, reason: "Forbidden", message: "no" };
    await expect(api.setDeletionCost(pod, 1)).rejects.toThrow();
  });
});

describe("what is kept of a worker's pod", () => {
  it("is what its container `worker` says, whatever else runs beside it", () => {
    const terminated = {
      exitCode: 137,
      reason: "OOMKilled",
      startedAt: "2026-01-01T00:00:01Z",
      finishedAt: "2026-01-01T00:00:02Z",
    };
    const view = workerPodView({
      metadata: {
        namespace: "millrace",
        name: "resize-1",
        uid: "u-1",
        labels: { "millrace.dev/worker": "resize" },
        annotations: { [DELETION_COST]: "100" },
      },
      spec: {
        containers: [
          { name: "proxy", resources: { limits: { memory: "1Mi" } } },
          { name: "worker", resources: { limits: { memory: "64Mi" } } },
        ],
      },
      status: {
        phase: "Running",
        conditions: [
          {
            type: "DisruptionTarget",
            status: "True",
            reason: "PreemptionByScheduler",
            lastTransitionTime: "2026-01-01T00:00:03Z",
          },
        ],
        containerStatuses: [
          { name: "proxy", state: { terminated: { exitCode: 1 } } },
          { name: "worker", state: { running: { startedAt: "2026-01-01T00:00:03Z" } }, lastState: { terminated } },
        ],
      },
    } as unknown as V1Pod);
    expect(view).toEqual({
      namespace: "millrace",
      name: "resize-1",
      uid: "u-1",
      worker: "resize",
      phase: "Running",
      reason: "",
      disruption: "PreemptionByScheduler",
      disruptedAt: "2026-01-01T00:00:03Z",
      memoryLimit: "64Mi",
      deletionCost: "100",
      runningSince: "2026-01-01T00:00:03Z",
      ends: [terminated],
    });
  });

  it("N6: only pods of workers of this instance", () => {
    expect(workerSelector("ns.rel")).toBe("millrace.dev/instance=ns.rel,millrace.dev/worker");
  });
});
