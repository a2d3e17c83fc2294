import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { kubeconfigAccess, loadKubeAccess } from "./access.ts";
import { type KubeAnswer, KubeClient } from "./client.ts";
import { isNotFound, KubeApiError } from "./errors.ts";
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

const thrown = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

describe("D7, D8: what the API server's answers mean", () => {
  it.each([
    [400, "BadRequest", { isInvalid: true }],
    [401, "Unauthorized", { isBlocked: true }],
    [403, "Forbidden", { isBlocked: true }],
    [404, "NotFound", { isNotFound: true, isBlocked: true }],
    [302, "", { isBlocked: true }],
    [405, "MethodNotAllowed", { isBlocked: true }],
    [408, "Timeout", { isBlocked: true }],
    [409, "AlreadyExists", { isAlreadyExists: true }],
    [409, "Conflict", { isBlocked: true }],
    [410, "Expired", { isGone: true, isBlocked: true }],
    [413, "RequestEntityTooLarge", { isInvalid: true }],
    [422, "Invalid", { isInvalid: true }],
    [429, "TooManyRequests", { isBlocked: true }],
    [500, "InternalError", { isBlocked: true }],
    [503, "ServiceUnavailable", { isBlocked: true }],
  ])("%d %s", async (status, reason, truths) => {
    answer = ({ response }) => refuse(response, status, reason, "why");
    const error = await thrown(server.client.json({ method: "POST", path: "/x", body: {} }));
    if (!(error instanceof KubeApiError)) throw error;
    expect(error).toMatchObject({ code: "KUBE_API", status, reason, message: `POST /x: ${status} ${reason}: why` });
    const found = Object.fromEntries(
      (["isInvalid", "isNotFound", "isAlreadyExists", "isBlocked", "isGone"] as const).flatMap((name) =>
        error[name]() ? [[name, true]] : [],
      ),
    );
    expect(found).toEqual(truths);
  });

  it.each([
    ["an answer that is no Status", "<html>gateway</html>"],
    ["an empty answer", ""],
    ["a list", "[1]"],
  ])("502 with %s is an error like any other", async (_what, body) => {
    answer = ({ response }) => void response.writeHead(502).end(body);
    expect(await thrown(server.client.json({ method: "GET", path: "/x" }))).toMatchObject({ status: 502 });
  });

  it("a 2xx that is no JSON is somebody else's answer: nothing is known of the request", async () => {
    answer = ({ response }) => void response.writeHead(200).end("<html>welcome</html>");
    expect(await thrown(server.client.json({ method: "POST", path: "/x", body: {} }))).toMatchObject({ status: 0 });
  });

  it("no answer is status 0: the request may or may not have been carried out", async () => {
    answer = ({ response }) => response.destroy();
    expect(await thrown(server.client.json({ method: "GET", path: "/x" }))).toMatchObject({ status: 0, reason: "NoAnswer" });
    answer = ({ response }) => {
      response.writeHead(200, { "content-length": "100" }).write("{");
      response.flushHeaders();
      response.socket?.end();
    };
    const error = await thrown(server.client.json({ method: "GET", path: "/x" }));
    expect(error).toMatchObject({ status: 0 });
    expect(error instanceof KubeApiError && error.isBlocked()).toBe(true);
  });

  it.each([
    [
      true,
      403,
      'jobs.batch "a" is forbidden: exceeded quota: full, requested: count/jobs.batch=1, used: count/jobs.batch=5, limited: count/jobs.batch=5',
    ],
    [false, 403, 'jobs.batch is forbidden: User "system:serviceaccount:millrace:dispatcher" cannot create resource "jobs"'],
    [false, 403, 'jobs.batch "a" is forbidden: unable to create new content in namespace jobs because it is being terminated'],
    [false, 403, 'jobs.batch "a" is forbidden: status unknown for quota: full, resources: count/jobs.batch'],
    [false, 409, 'Operation cannot be fulfilled on resourcequotas "full": the object has been modified'],
    [false, 500, 'jobs.batch "a" is forbidden: exceeded quota: full'],
  ])("isQuota is %s: %d %s", async (quota, status, message) => {
    answer = ({ response }) => refuse(response, status, status === 403 ? "Forbidden" : "Conflict", message);
    const error = await thrown(api.create("jobs", {}));
    if (!(error instanceof KubeApiError)) throw error;
    expect(error.isQuota()).toBe(quota);
    expect(error.isBlocked()).toBe(true);
  });

  it.each([
    ["5", 5_000],
    ["0", 0],
    [undefined, undefined],
    ["Wed, 21 Oct 2026 07:28:00 GMT", undefined],
    ["-1", undefined],
  ])("Retry-After %s asks for %s ms", async (seconds, retryAfterMs) => {
    answer = ({ response }) => {
      if (seconds !== undefined) response.setHeader("retry-after", seconds);
      refuse(response, 429, "TooManyRequests", "later");
    };
    expect(await thrown(server.client.json({ method: "POST", path: "/x", body: {} }))).toMatchObject({ retryAfterMs });
    expect(await thrown(server.client.stream({ method: "GET", path: "/x" }))).toMatchObject({ retryAfterMs });
  });

  it("asks for no more of an object than is looked at: of a Job that it made its name and uid", async () => {
    await api.create("jobs", {});
    await api.setTtl("jobs", "a", "uid-1", 60);
    await api.get("jobs", "a");
    const short = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
    expect(server.asked.map(({ headers }) => headers.accept)).toEqual([short, short, "application/json"]);
  });

  it("sends token, query and content type; connections are kept", async () => {
    await server.client.json({ method: "GET", path: "/x", query: { labelSelector: "a=b,c" } });
    await server.client.json({ method: "POST", path: "/x", body: { a: "é" } });
    await server.client.json({ method: "PATCH", path: "/x", body: {} });
    for (let more = 0; more < 20; more += 1) await server.client.json({ method: "GET", path: "/x" });
    const [get, post, patch] = server.asked;
    expect(get?.query.get("labelSelector")).toBe("a=b,c");
    expect(get?.headers.authorization).toBe("Bearer test");
    expect(post?.body).toEqual({ a: "é" });
    expect(post?.headers["content-type"]).toBe("application/json");
    expect(patch?.headers["content-type"]).toBe("application/merge-patch+json");
    expect(new Set(server.asked.map(({ response }) => response.req.socket)).size).toBeLessThan(5);
  });
});

describe("I5, S5: calls on a Job are guarded by its uid", () => {
  it("get: undefined only for 404; 403 is never gone (J5)", async () => {
    answer = ({ response }) => refuse(response, 404, "NotFound", "");
    expect(await api.get("jobs", "a")).toBeUndefined();
    answer = ({ response }) => refuse(response, 403, "Forbidden", "");
    const error = await thrown(api.get("jobs", "a"));
    expect(error).toMatchObject({ status: 403 });
    expect(isNotFound(error)).toBe(false);
  });

  it("delete names the uid and takes the pods along", async () => {
    expect(await api.delete("jobs", "a", "uid-1")).toBe(true);
    expect(server.asked[0]).toMatchObject({
      method: "DELETE",
      path: "/apis/batch/v1/namespaces/jobs/jobs/a",
      body: { propagationPolicy: "Background", preconditions: { uid: "uid-1" } },
    });
  });

  it("setTtl names the uid and marks the Job as settled", async () => {
    expect(await api.setTtl("jobs", "a", "uid-1", 60)).toBe(true);
    expect(server.asked[0]).toMatchObject({
      method: "PATCH",
      body: {
        metadata: { uid: "uid-1", annotations: { "millrace.dev/settled": "true" } },
        spec: { ttlSecondsAfterFinished: 60 },
      },
    });
  });

  it.each([
    ["gone", 404, "NotFound", ""],
    ["another uid, as DELETE says it", 409, "Conflict", "Precondition failed: UID in precondition: a, UID in object meta: b"],
    [
      "another uid, as PATCH says it",
      422,
      "Invalid",
      'Job.batch "a" is invalid: metadata.uid: Invalid value: "a": field is immutable',
    ],
  ])("%s: false", async (_what, status, reason, message) => {
    answer = ({ response }) => refuse(response, status, reason, message);
    expect(await api.setTtl("jobs", "a", "uid-1", 60)).toBe(false);
    expect(await api.delete("jobs", "a", "uid-1")).toBe(false);
  });

  it("whatever else fails is thrown", async () => {
    answer = ({ response }) =>
      refuse(response, 422, "Invalid", "spec.ttlSecondsAfterFinished: must be greater than or equal to 0");
    expect(await thrown(api.setTtl("jobs", "a", "uid-1", -1))).toMatchObject({ status: 422 });
  });
});

describe("access by kubeconfig", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "millrace-kubeconfig-"));
  });
  afterEach(() => rm(dir, { recursive: true }));
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  const write = async (text: string): Promise<string> => {
    const path = join(dir, "config");
    await writeFile(path, text);
    return path;
  };
  const contexts = (user: string): string => `
apiVersion: v1
kind: Config
current-context: one
contexts:
  - {name: one, context: {cluster: c, user: u}}
  - {name: two, context: {cluster: d, user: u}}
  - {name: broken, context: {cluster: none, user: u}}
clusters:
  - {name: c, cluster: {server: "https://one:6443", certificate-authority-data: ${base64("CA")}}}
  - {name: d, cluster: {server: "https://two:6443"}}
users:
  - {name: u, user: ${user}}
`;

  it("takes the current context, or the one that is named", async () => {
    const path = await write(contexts(`{client-certificate-data: ${base64("CERT")}, client-key-data: ${base64("KEY")}}`));
    const one = await kubeconfigAccess(path);
    expect(one).toMatchObject({ server: "https://one:6443" });
    expect(await one.tls()).toEqual({ ca: "CA", cert: "CERT", key: "KEY" });
    expect(await one.authorization()).toBeUndefined();
    expect(await kubeconfigAccess(path, "two")).toMatchObject({ server: "https://two:6443" });
    expect(await loadKubeAccess({ KUBECONFIG: path })).toMatchObject({ server: "https://one:6443" });
  });

  it("takes tokens, also from a file", async () => {
    expect(await (await kubeconfigAccess(await write(contexts("{token: abc}")))).authorization()).toBe("Bearer abc");
    await writeFile(join(dir, "token"), "from-file\n");
    const access = await kubeconfigAccess(await write(contexts(`{tokenFile: ${join(dir, "token")}}`)));
    expect(await access.authorization()).toBe("Bearer from-file");
  });

  it.each(["nope", "broken"])("context %s: says what to do", async (name) => {
    const path = await write(contexts("{token: abc}"));
    await expect(kubeconfigAccess(path, name)).rejects.toMatchObject({
      code: "KUBECONFIG_INVALID",
      message: expect.stringContaining(name),
    });
  });
});

it("the API server's clock is told from its answers; a second more or less is no difference", async () => {
  let date = new Date(Date.now() + 600_000).toUTCString();
  await using server = await FakeApiServer.start(({ response }) => {
    response.setHeader("date", date);
    return json(response, 200, {});
  });
  const aheadMs = async (): Promise<number> => {
    await server.client.json({ method: "GET", path: "/" });
    return server.client.serverNowMs() - Date.now();
  };
  expect(Math.abs((await aheadMs()) - 600_000)).toBeLessThan(2_000);
  date = new Date().toUTCString();
  expect(Math.abs(await aheadMs())).toBeLessThan(100);
});

describe("every request is told of by its method, its status and its time", () => {
  it("an answer, a refusal, a stream that began, and none at all", async () => {
    const answers: KubeAnswer[] = [];
    const client = new KubeClient({ access: server.access, onAnswer: (told) => void answers.push(told) });
    answer = ({ response }) => json(response, 200, {});
    await client.json({ method: "GET", path: "/x" });
    for await (const _ of await client.stream({ method: "GET", path: "/x" }));
    answer = ({ response }) => refuse(response, 429, "TooManyRequests", "");
    await thrown(client.json({ method: "POST", path: "/x", body: {} }));
    answer = ({ response }) => void response.destroy();
    await thrown(client.json({ method: "DELETE", path: "/x" }));
    expect(answers.map(({ method, status }) => `${method} ${status}`)).toEqual(["GET 200", "GET 200", "POST 429", "DELETE 0"]);
    for (const { tookMs } of answers) expect(tookMs).toBeGreaterThan(0);
    await client.close();
  });
});
