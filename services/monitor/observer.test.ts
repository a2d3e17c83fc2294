import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Asked, FakeApiServer, json } from "../../libs/kube/testing/fake-api-server.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Observer } from "./observer.ts";

const job = { metadata: { namespace: "jobs", name: "a", uid: "job-1", resourceVersion: "5" } };
const pod = (exitCode: number) => ({
  metadata: {
    namespace: "jobs",
    name: "p",
    uid: "pod-1",
    resourceVersion: "5",
    ownerReferences: [{ kind: "Job", uid: "job-1" }],
  },
  status: { containerStatuses: [{ name: "main", state: { terminated: { exitCode } } }] },
});

let server: FakeApiServer;
let observer: Observer;
let streams: Map<string, Asked["response"]>;
let seen: string[];
let clockMs: number;
beforeEach(async () => {
  streams = new Map();
  seen = [];
  clockMs = 0;
  server = await FakeApiServer.start(({ path, query, response }) => {
    const kind = path.endsWith("/pods") ? "pods" : "jobs";
    if (query.get("watch") === null)
      return json(response, 200, { metadata: { resourceVersion: "1" }, items: kind === "jobs" ? [job] : [pod(3)] });
    response.writeHead(200).flushHeaders();
    streams.set(kind, response);
    return undefined;
  });
  observer = new Observer({
    client: server.client,
    instance: "ns.rel",
    namespaces: ["jobs"],
    onJob: (uid) => void seen.push(uid),
    goneKept: 3,
    nowMs: () => clockMs,
    log: silentLog,
  });
  await observer.start();
  await vi.waitFor(() => expect(streams.size).toBe(2));
});
afterEach(async () => {
  await observer.stop();
  await server[Symbol.asyncDispose]();
});
const happens = (kind: string, type: string, object: object) => streams.get(kind)?.write(`${JSON.stringify({ type, object })}\n`);
const until = (check: () => void) => vi.waitFor(check);

describe("J1: evidence outlives what it is about", () => {
  it("N6: lists and watches carry the instance", () => {
    for (const { query } of server.asked) expect(query.get("labelSelector")).toContain("millrace.dev/instance=ns.rel");
  });

  it("the last status of a pod is kept after the pod, and after the Job, until the Job is forgotten", async () => {
    happens("pods", "DELETED", pod(4));
    await until(() => expect(observer.sighting("job-1")?.pods[0]?.containers[0]?.terminated?.exitCode).toBe(4));
    happens("jobs", "DELETED", job);
    await until(() => expect(observer.sighting("job-1")?.gone).toBe(true));
    expect(observer.sighting("job-1")?.pods).toHaveLength(1);
    observer.forget("job-1");
    expect(observer.sighting("job-1")).toBeUndefined();
  });

  it("when a pod's deletion was asked for stays, though the kubelet's last delete moves the time that the object shows", async () => {
    const deleted = (deletionTimestamp: string, deletionGracePeriodSeconds: number, exitCode: number) => ({
      ...pod(exitCode),
      metadata: { ...pod(exitCode).metadata, deletionTimestamp, deletionGracePeriodSeconds },
    });
    happens("pods", "MODIFIED", deleted("2026-01-01T00:00:40Z", 30, 5));
    happens("pods", "MODIFIED", deleted("2026-01-01T00:00:16Z", 0, 6));
    await until(() => expect(observer.sighting("job-1")?.pods[0]?.containers[0]?.terminated?.exitCode).toBe(6));
    expect(observer.sighting("job-1")?.pods[0]?.deletedAt).toBe("2026-01-01T00:00:10.000Z");
  });

  it("of a Job that was settled nothing is kept, and that it went is told", async () => {
    happens("pods", "DELETED", pod(0));
    await until(() => expect(observer.sighting("job-1")?.pods[0]?.containers[0]?.terminated?.exitCode).toBe(0));
    const before = seen.length;
    happens("jobs", "DELETED", { metadata: { ...job.metadata, annotations: { "millrace.dev/settled": "true" } } });
    await until(() => expect(observer.sighting("job-1")).toBeUndefined());
    expect(seen.length).toBe(before + 1);
    expect([...observer.goneJobs()]).toEqual([]);
  });

  it("what a monitor that does not lead keeps of Jobs that went is bounded: the newest", async () => {
    const gone = (index: number) => ({ metadata: { ...job.metadata, name: `j${index}`, uid: `gone-${index}` } });
    for (let index = 0; index < 6; index += 1) {
      happens("jobs", "ADDED", gone(index));
      happens("jobs", "DELETED", gone(index));
    }
    await until(() => expect(observer.sighting("gone-5")?.gone).toBe(true));
    expect([...observer.goneJobs()]).toEqual(["gone-3", "gone-4", "gone-5"]);
    expect(observer.sighting("gone-0")).toBeUndefined();
  });

  it("a Job that comes back into sight, because its label was put back, is not gone", async () => {
    happens("jobs", "DELETED", job);
    await until(() => expect(observer.sighting("job-1")?.gone).toBe(true));
    happens("jobs", "ADDED", job);
    await until(() => expect(observer.sighting("job-1")?.gone).toBe(false));
  });

  it("a pod that outlives its forgotten Job leaves nothing behind", async () => {
    happens("jobs", "DELETED", job);
    await until(() => expect(observer.sighting("job-1")?.gone).toBe(true));
    observer.forget("job-1");
    happens("pods", "DELETED", pod(0));
    happens("jobs", "ADDED", job);
    await until(() => expect(observer.sighting("job-1")?.gone).toBe(false));
    expect(observer.sighting("job-1")?.pods.length).toBeLessThanOrEqual(1);
  });

  it("every change of a Job or its pods is told", async () => {
    const before = seen.length;
    happens("pods", "MODIFIED", pod(1));
    happens("jobs", "MODIFIED", job);
    await until(() => expect(seen.length).toBe(before + 2));
    expect(new Set(seen)).toEqual(new Set(["job-1"]));
  });
});

describe("Sweeps: how fresh the observations are", () => {
  it("each watch has its own freshness; one that is stale makes its namespace a problem", async () => {
    clockMs += 99_000;
    happens("jobs", "MODIFIED", job);
    const jobs = { kind: "jobs", namespace: "jobs", freshnessMs: 0 };
    await until(() => expect([...observer.freshness()][0]).toEqual(jobs));
    expect([...observer.freshness()]).toEqual([jobs, { kind: "pods", namespace: "jobs", freshnessMs: 99_000 }]);
    expect(observer.problemIn("jobs")).toBeUndefined();
    clockMs += 2_000;
    expect(observer.problemIn("jobs")).toContain("has said nothing for 101 s");
    expect(observer.problem()).toContain("jobs: ");
  });
});
