import type { RequestListener } from "node:http";
import { Agent } from "undici";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { TestServer } from "../testing/test-server.ts";
import { AddressRules } from "./address-rules.ts";
import { guardedAgent, type ResolveHost } from "./guarded-agent.ts";
import { ImageOrigin } from "./image-origin.ts";

const PNG = Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), Buffer.alloc(2_000, 7)]);
const MAX_BYTES = 100_000;
/** 127.0.0.1 may be reached, and its neighbour 127.0.0.2 not. */
const ALLOWED = ["127.0.0.1/32"];

function originWith(options: { readonly allowed?: readonly string[]; readonly resolve?: ResolveHost } = {}): ImageOrigin {
  const { allowed = ALLOWED, resolve } = options;
  const rules = new AddressRules({ allowed, blocked: [] });
  const agent = guardedAgent({ rules, ...(resolve === undefined ? {} : { resolve }) });
  onTestFinished(() => agent.destroy());
  return new ImageOrigin({ agent, maxBytes: MAX_BYTES });
}

async function serve(answer: RequestListener, host?: string): Promise<TestServer> {
  const server = await TestServer.start(answer, host);
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

const never = new AbortController().signal;
const get = (origin: ImageOrigin, url: string, headers = {}, signal = never) => origin.download({ url, headers, signal });
const redirectTo =
  (location: string): RequestListener =>
  (_, response) =>
    void response.writeHead(302, { location }).end();

it("downloads an image with the message's headers", async () => {
  const server = await serve((_, response) => void response.end(PNG));
  const answer = await get(originWith(), `${server.url}/a.txt?b=c`, { Authorization: "Bearer t", Host: "evil.test" });
  expect(answer).toMatchObject({ kind: "image", format: { name: "png" } });
  expect(answer.kind === "image" && answer.bytes.equals(PNG)).toBe(true);
  const [request] = server.requests;
  expect(request?.path).toBe("/a.txt?b=c");
  expect(request?.headers).toMatchObject({
    authorization: "Bearer t",
    host: new URL(server.url).host,
    "accept-encoding": "identity",
  });
});

describe("K11: the dialled address is checked", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await TestServer.start((_, response) => void response.end(PNG));
  });
  afterAll(() => server[Symbol.asyncDispose]());
  const at = (host: string): string => `http://${host}:${new URL(server.url).port}/`;

  it.each(["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1"])(
    "http://%s is refused before anything is sent",
    async (host) => {
      expect(await get(originWith({ allowed: [] }), at(host))).toMatchObject({
        kind: "refused",
        reason: expect.stringContaining("ALLOWED_NETWORKS"),
      });
      expect(server.requests).toEqual([]);
    },
  );

  it("a name whose address changes between two looks (DNS rebinding) is dialled where it was checked", async () => {
    const answers = ["127.0.0.1", "127.0.0.2"];
    const asked: string[] = [];
    const resolve: ResolveHost = (host, callback) => {
      asked.push(host);
      callback(null, [{ address: answers.shift() ?? "", family: 4 }]);
    };
    const origin = originWith({ resolve });
    expect((await get(origin, at("rebind.test"))).kind).toBe("image");
    expect(asked).toEqual(["rebind.test"]);
    expect((await get(origin, at("rebind.test"))).kind).toBe("refused");
  });

  it("of several addresses of a name only open ones are dialled", async () => {
    const resolve: ResolveHost = (_, callback) =>
      callback(null, [
        { address: "::1", family: 6 },
        { address: "127.0.0.2", family: 4 },
        { address: "127.0.0.1", family: 4 },
      ]);
    expect((await get(originWith({ resolve }), at("many.test"))).kind).toBe("image");
    expect((await get(originWith({ resolve, allowed: [] }), at("many.test"))).kind).toBe("refused");
  });
});

describe("K11: the Content-Type is checked", () => {
  it.each(["text/html", "text/html; charset=utf-8", "application/json", "application/xml", "video/mp4"])(
    "what the origin calls %s is refused unread, whatever its bytes look like",
    async (type) => {
      const closed = Promise.withResolvers<void>();
      const server = await serve((_, response) => {
        response.once("close", () => closed.resolve());
        response.writeHead(200, { "content-type": type }).write(PNG);
      });
      expect(await get(originWith(), `${server.url}/a?token=hush`)).toEqual({
        kind: "refused",
        reason: `${server.url}/a?… is ${type.split(";")[0]} and no image, by its Content-Type`,
      });
      await closed.promise;
    },
  );

  it.each([undefined, "application/octet-stream", "binary/octet-stream", "text/plain", "image/webp"])(
    "of what it calls %s the first bytes decide",
    async (type) => {
      const server = await serve((request, response) => {
        response
          .writeHead(200, type === undefined ? {} : { "content-type": type })
          .end(request.url === "/png" ? PNG : "no image");
      });
      expect(await get(originWith(), `${server.url}/png`)).toMatchObject({ kind: "image", format: { name: "png" } });
      expect(await get(originWith(), `${server.url}/page`)).toMatchObject({
        kind: "refused",
        reason: expect.stringContaining("first bytes"),
      });
    },
  );
});

describe("redirects", () => {
  it("are followed to an image, relative ones too", async () => {
    const server = await serve((request, response) => {
      if (request.url === "/a/start") response.writeHead(308, { location: "end?x" }).end();
      else response.end(PNG);
    });
    expect((await get(originWith(), `${server.url}/a/start`)).kind).toBe("image");
    expect(server.requests.map(({ path }) => path)).toEqual(["/a/start", "/a/end?x"]);
  });

  it("K11: to an address that is not open are refused, and nothing is sent there", async () => {
    const inside = await serve((_, response) => void response.end(PNG), "127.0.0.2");
    const server = await serve(redirectTo(`${inside.url}/latest/meta-data`));
    expect((await get(originWith(), server.url)).kind).toBe("refused");
    expect(server.requests).toHaveLength(1);
    expect(inside.requests).toEqual([]);
  });

  it.each(["file:///etc/passwd", "ftp://127.0.0.1/", "http://user:pw@127.0.0.1/", "http://[", "//169.254.169.254/latest"])(
    "K11: to %s are refused",
    async (location) => {
      const server = await serve(redirectTo(location));
      expect((await get(originWith(), server.url)).kind).toBe("refused");
    },
  );

  it("K11: without end are refused after five", async () => {
    const server = await serve(redirectTo("/again"));
    expect(await get(originWith(), server.url)).toMatchObject({ kind: "refused", reason: expect.stringContaining("5 times") });
    expect(server.requests).toHaveLength(6);
  });

  it("K11: without a place are refused", async () => {
    const server = await serve((_, response) => void response.writeHead(302).end());
    expect((await get(originWith(), server.url)).kind).toBe("refused");
  });

  it("K11: to another origin carry none of the message's credentials", async () => {
    const other = await serve((_, response) => void response.end(PNG));
    const server = await serve(redirectTo(other.url));
    await get(originWith(), server.url, { Authorization: "t", Cookie: "a=b", "X-Api-Key": "k" });
    const [request] = other.requests;
    expect(Object.keys(request?.headers ?? {}).sort()).toEqual(["accept", "accept-encoding", "connection", "host", "user-agent"]);
  });
});

describe("K11: what a body may cost", () => {
  it("a body that says it is too large is not read", async () => {
    const server = await serve((_, response) => void response.writeHead(200, { "content-length": MAX_BYTES + 1 }).write(PNG));
    expect(await get(originWith(), server.url)).toMatchObject({
      kind: "refused",
      reason: expect.stringContaining("MAX_IMAGE_BYTES"),
    });
  });

  it("a body without end is cut at the limit", async () => {
    let sent = 0;
    const closed = Promise.withResolvers<void>();
    const server = await serve((_, response) => {
      response.once("close", () => closed.resolve());
      const more = (): void => {
        while (!response.destroyed && response.write(PNG)) sent += PNG.byteLength;
      };
      response.on("drain", more);
      more();
    });
    expect(await get(originWith(), server.url)).toMatchObject({
      kind: "refused",
      reason: expect.stringContaining("MAX_IMAGE_BYTES"),
    });
    await closed.promise;
    // What lies in the sockets' buffers, and no more.
    expect(sent).toBeLessThan(20_000_000);
  });

  it("what is no image is cut at its first bytes", async () => {
    const closed = Promise.withResolvers<void>();
    const server = await serve((_, response) => {
      response.once("close", () => closed.resolve());
      response.write("<!DOCTYPE html>");
    });
    expect(await get(originWith(), server.url)).toMatchObject({ kind: "refused", reason: expect.stringContaining("no JPEG") });
    await closed.promise;
  });

  it.each([
    ["nothing", Buffer.alloc(0)],
    ["the beginning of a signature", PNG.subarray(0, 6)],
  ])("%s is no image", async (_, bytes) => {
    const server = await serve((_request, response) => void response.end(bytes));
    expect((await get(originWith(), server.url)).kind).toBe("refused");
  });

  it("a signature that comes in pieces is one", async () => {
    const server = await serve((_, response) => {
      response.write(PNG.subarray(0, 5));
      setImmediate(() => response.end(PNG.subarray(5)));
    });
    const answer = await get(originWith(), server.url);
    expect(answer.kind === "image" && answer.bytes.equals(PNG)).toBe(true);
  });

  it("an answer that never ends ends with the signal, for the signal's reason", async () => {
    const controller = new AbortController();
    const reason = new Error("time is up");
    const server = await serve((_, response) => {
      response.write(PNG);
      setImmediate(() => controller.abort(reason));
    });
    await expect(get(originWith(), server.url, {}, controller.signal)).rejects.toBe(reason);
  });
});

describe("what the origin answers", () => {
  it.each([400, 401, 403, 404, 410, 451, 204, 206, 304])("%d is for good", async (status) => {
    const server = await serve((_, response) => void response.writeHead(status).end());
    expect(await get(originWith(), `${server.url}/a?token=hush`)).toEqual({
      kind: "refused",
      reason: `${server.url}/a?… answered ${status}`,
    });
  });

  it.each([408, 425, 429, 500, 502, 503, 504])("%d may pass", async (status) => {
    const server = await serve((_, response) => void response.writeHead(status).end());
    await expect(get(originWith(), `${server.url}/a?token=hush`)).rejects.toThrow(`${server.url}/a?… answered ${status}`);
  });

  it.each([429, 503])("%d with Retry-After is asked again when it said so", async (status) => {
    const server = await serve((_, response) => void response.writeHead(status, { "retry-after": "7" }).end());
    expect(await get(originWith(), server.url)).toMatchObject({ kind: "later", afterMs: 7_000 });
  });

  it("nobody there may pass, and the error shows neither query nor cause", async () => {
    const server = await TestServer.start(() => {});
    const { url } = server;
    await server[Symbol.asyncDispose]();
    const error: unknown = await get(originWith(), `${url}/a?token=hush`).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "ORIGIN_FAILED", message: expect.stringContaining("ECONNREFUSED") });
    expect(JSON.stringify(error) + String(error)).not.toContain("hush");
    expect((error as Error).cause).toBeUndefined();
  });

  it("a host whose name does not resolve may pass, and the process lives on", async () => {
    const resolve: ResolveHost = (_, callback) => setImmediate(callback, Object.assign(new Error("hush"), { code: "ENOTFOUND" }));
    await expect(get(originWith({ resolve }), "http://gone.test/a?token=hush")).rejects.toMatchObject({
      code: "ORIGIN_FAILED",
      message: "http://gone.test/a?… did not answer as it should (ENOTFOUND); another attempt may help",
    });
    // By the system's own resolver: what it is without a network differs in its code only.
    await expect(get(originWith(), "http://nope.invalid/")).rejects.toMatchObject({
      code: "ORIGIN_FAILED",
      message: expect.stringMatching(/\((ENOTFOUND|EAI_AGAIN)\)/),
    });
  });

  it("an answer that breaks off may pass", async () => {
    const server = await serve((request, response) => {
      response.writeHead(200, { "content-length": 5_000 }).write(PNG, () => request.socket.destroy());
    });
    await expect(get(originWith(), server.url)).rejects.toMatchObject({ code: "ORIGIN_FAILED" });
  });
});

it("the test's own server is reached without the guard, so that a refusal is the guard's", async () => {
  const server = await serve((_, response) => void response.end(PNG), "127.0.0.2");
  const agent = new Agent();
  onTestFinished(() => agent.destroy());
  const origin = new ImageOrigin({ agent, maxBytes: MAX_BYTES });
  expect((await get(origin, server.url)).kind).toBe("image");
});
