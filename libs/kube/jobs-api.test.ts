import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { JobsApi } from "./jobs-api.ts";
import { type Asked, FakeApiServer, json, refuse } from "./testing/fake-api-server.ts";

let answer: (asked: Asked) => void;
let server: FakeApiServer;
let api: JobsApi;
beforeEach(async () => {
  answer = ({ response }) => json(response, 200, {});
  server = await FakeApiServer.start((asked) => answer(asked));
  api = new JobsApi({ client: server.client });
});
afterEach(() => server[Symbol.asyncDispose]());

const text = (chunks: readonly (string | Uint8Array)[]) => {
  answer = ({ response }) => {
    response.writeHead(200, { "content-type": "text/plain" });
    for (const chunk of chunks) response.write(chunk);
    response.end();
  };
};

describe("J2: a Stop", () => {
  it("suspends the Job of that uid and says why on it", async () => {
    expect(await api.suspend("jobs", "a", "u", "image", "image nope cannot be pulled")).toBe(true);
    expect(server.asked[0]).toMatchObject({
      method: "PATCH",
      path: "/apis/batch/v1/namespaces/jobs/jobs/a",
      body: {
        metadata: {
          uid: "u",
          annotations: { "millrace.dev/stop": "image", "millrace.dev/stop-reason": "image nope cannot be pulled" },
        },
        spec: { suspend: true },
      },
    });
    expect(server.asked[0]?.headers["content-type"]).toBe("application/merge-patch+json");
  });

  it("without a reason leaves none", async () => {
    await api.suspend("jobs", "a", "u", "cancelled");
    expect(server.asked[0]?.body).toMatchObject({ metadata: { annotations: { "millrace.dev/stop": "cancelled" } } });
    expect(JSON.stringify(server.asked[0]?.body)).not.toContain("stop-reason");
  });

  it.each([
    [404, "NotFound", 'jobs.batch "a" not found'],
    [422, "Invalid", 'Job.batch "a" is invalid: metadata.uid: Invalid value: "u": field is immutable'],
  ])("%d: that Job is gone", async (status, reason, message) => {
    answer = ({ response }) => refuse(response, status, reason, message);
    expect(await api.suspend("jobs", "a", "u", "evicted")).toBe(false);
  });

  it.each([
    [403, "Forbidden", "no"],
    [409, "Conflict", "the object has been modified; please apply your changes to the latest version and try again"],
  ])("%d is an error: the Job is there and not stopped", async (status, reason, message) => {
    answer = ({ response }) => refuse(response, status, reason, message);
    await expect(api.suspend("jobs", "a", "u", "evicted")).rejects.toMatchObject({ status });
    await expect(api.setTtl("jobs", "a", "u", 60)).rejects.toMatchObject({ status });
  });

  it("of a Job that is gone: its pods by label, each by uid, and those that went on their own are not counted", async () => {
    const pod = (name: string) => ({ metadata: { name, uid: `uid-${name}` } });
    answer = ({ method, path, response }) => {
      if (method === "GET") return json(response, 200, { items: [pod("a"), pod("b"), pod("c")] });
      if (path.endsWith("/b")) return refuse(response, 404, "NotFound", "gone");
      if (path.endsWith("/c")) return refuse(response, 409, "Conflict", "the UID in the precondition does not match");
      return json(response, 200, {});
    };
    expect(await api.deletePods("jobs", "millrace.dev/job=h")).toBe(1);
    expect(server.asked[0]?.query.get("labelSelector")).toBe("millrace.dev/job=h");
    const deletes = server.asked.slice(1).map(({ method, path, body }) => ({ method, path, body }));
    expect(deletes).toContainEqual({
      method: "DELETE",
      path: "/api/v1/namespaces/jobs/pods/a",
      body: { kind: "DeleteOptions", apiVersion: "v1", preconditions: { uid: "uid-a" } },
    });
    expect(deletes).toHaveLength(3);
  });
});

describe("the end of a container's log", () => {
  it("is asked for by lines, and cut at bytes to whole lines, however it comes in", async () => {
    const lines = Array.from({ length: 1_000 }, (_, index) => `line ${index} ä\n`).join("");
    const all = Buffer.from(lines);
    text([all.subarray(0, 1), all.subarray(1, 5_003), all.subarray(5_003, 9_000), all.subarray(9_000)]);
    expect(await api.podLog("jobs", "p", "main", 30)).toBe("line 998 ä\nline 999 ä\n");
    const [asked] = server.asked;
    expect(asked?.path).toBe("/api/v1/namespaces/jobs/pods/p/log");
    expect(Object.fromEntries(asked?.query ?? [])).toEqual({ container: "main", tailLines: "2" });
  });

  it("is all of a short one", async () => {
    text(["one\ntwo\n"]);
    expect(await api.podLog("jobs", "p", "main", 8)).toBe("one\ntwo\n");
    expect(await api.podLog("jobs", "p", "main", 64 * 1024)).toBe("one\ntwo\n");
  });

  it("keeps a line that begins where the tail does", async () => {
    text(["one\n", "two\n"]);
    expect(await api.podLog("jobs", "p", "main", 4)).toBe("two\n");
  });

  it("is empty where nothing was written", async () => {
    text([]);
    expect(await api.podLog("jobs", "p", "main", 64)).toBe("");
    expect(await api.podLogLines("jobs", "p", "main")).toEqual([]);
  });

  it.each([
    [400, "BadRequest", 'container "main" in pod "p" is waiting to start: ContainerCreating'],
    [404, "NotFound", 'pods "p" not found'],
  ])("%d: there is none", async (status, reason, message) => {
    answer = ({ response }) => refuse(response, status, reason, message);
    expect(await api.podLog("jobs", "p", "main", 64)).toBeUndefined();
    expect(await api.podLogLines("jobs", "p", "main")).toBeUndefined();
  });

  it.each([
    "unable to retrieve container logs for containerd://4f1c",
    'failed to try resolving symlinks in path "/var/log/pods/x/main/0.log": lstat /var/log/pods/x/main/0.log: no such file or directory\n',
  ])("the kubelet's word that it has removed it is none: %s", async (word) => {
    text([word]);
    expect(await api.podLog("jobs", "p", "main", 1_000)).toBeUndefined();
  });

  it("a node that does not answer, and a log that breaks off, are errors", async () => {
    answer = ({ response }) => refuse(response, 500, "InternalError", "dial tcp 10.0.0.1:10250: i/o timeout");
    await expect(api.podLog("jobs", "p", "main", 64)).rejects.toMatchObject({ code: "KUBE_API", status: 500 });
    answer = ({ response }) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("half", () => response.destroy());
    };
    await expect(api.podLog("jobs", "p", "main", 64)).rejects.toMatchObject({ code: "KUBE_API", status: 0 });
  });
});

describe("following a log", () => {
  it("with times: what the caller has seen does not come again, though the API server counts in seconds", async () => {
    text(["2026-01-01T00:00:01.1Z one\n", "2026-01-01T00:00:01.123456789Z two words\n2026-01-01T02:00:01.2+02:00 \n"]);
    const lines = await api.podLogLines("jobs", "p", "main", { sinceTime: "2026-01-01T00:00:01.1Z", timestamps: true });
    expect(lines).toEqual([
      { at: "2026-01-01T00:00:01.123456789Z", text: "two words" },
      { at: "2026-01-01T02:00:01.2+02:00", text: "" },
    ]);
    expect(Object.fromEntries(server.asked[0]?.query ?? [])).toEqual({
      container: "main",
      limitBytes: "4194304",
      timestamps: "true",
      sinceTime: "2026-01-01T00:00:01.1Z",
    });
  });

  it("without times: lines as they are", async () => {
    text(["one\n\n", "three"]);
    expect(await api.podLogLines("jobs", "p", "main")).toEqual([{ text: "one" }, { text: "" }, { text: "three" }]);
    expect(server.asked[0]?.query.get("tailLines")).toBe("10000");
  });
});

describe("D8, S5: Jobs that may go", () => {
  const job = (
    name: string,
    rest: { readonly annotations?: object; readonly conditions?: object[]; readonly deletionTimestamp?: string },
  ) => ({
    metadata: { name, uid: `uid-${name}`, annotations: rest.annotations, deletionTimestamp: rest.deletionTimestamp },
    status: { conditions: rest.conditions },
  });
  const settled = { "millrace.dev/settled": "true" };
  const ended = (type: string, second: number) => [{ type, status: "True", lastTransitionTime: `2026-01-01T00:00:0${second}Z` }];

  it("are settled and ended, from all pages, the longest ended first", async () => {
    const pages = [
      [
        job("failed", { annotations: settled, conditions: ended("Failed", 5) }),
        job("unsettled", { conditions: ended("Failed", 1) }),
      ],
      [
        job("complete", { annotations: settled, conditions: ended("Complete", 3) }),
        job("running", { annotations: settled }),
        job("going", { annotations: settled, conditions: ended("Failed", 1), deletionTimestamp: "2026-01-01T00:00:09Z" }),
      ],
    ];
    answer = ({ query, response }) => {
      const page = query.get("continue") === "more" ? 1 : 0;
      json(response, 200, { metadata: page === 0 ? { continue: "more" } : { continue: "" }, items: pages[page] });
    };
    expect(await api.settledJobs("jobs", "a=b")).toEqual([
      { name: "complete", uid: "uid-complete", endedAt: "2026-01-01T00:00:03Z" },
      { name: "failed", uid: "uid-failed", endedAt: "2026-01-01T00:00:05Z" },
    ]);
    expect(server.asked.map(({ query }) => query.get("labelSelector"))).toEqual(["a=b", "a=b"]);
  });
});
