import type { RequestListener } from "node:http";
import type { Worker } from "@millrace/worker";
import { type HandlerRun, runHandler } from "@millrace/worker/testing";
import sharp from "sharp";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { AddressRules } from "./image-download/address-rules.ts";
import { guardedAgent } from "./image-download/guarded-agent.ts";
import { imageDownload } from "./image-download/image-download.ts";
import { ImageOrigin } from "./image-download/image-origin.ts";
import { imageResize } from "./image-resize/image-resize.ts";
import { ObjectStore } from "./image-store/object-store.ts";
import { dots } from "./testing/dots.ts";
import { TestServer } from "./testing/test-server.ts";
import { Versitygw } from "./testing/versitygw.ts";

const MAX_BYTES = 1_000_000;
const MAX_PIXELS = 1_000_000;
const RETRY = { attempts: 3, backoff: { initial: "10s" } };

const agent = guardedAgent({ rules: new AddressRules({ allowed: ["127.0.0.1"], blocked: [] }) });
let s3: Versitygw;
let store: ObjectStore;
let server: TestServer;
let download: Worker;
let resize: Worker;
let answer: RequestListener;
let ids = 0;
/** Of the test's message: each test has objects of its own. */
let id: string;

beforeAll(async () => {
  s3 = await Versitygw.start();
  store = new ObjectStore(s3.settings);
  server = await TestServer.start((request, response) => answer(request, response));
  download = imageDownload({ origin: new ImageOrigin({ agent, maxBytes: MAX_BYTES }), store });
  resize = imageResize({ store, limits: { maxBytes: MAX_BYTES, maxPixels: MAX_PIXELS } });
});
afterAll(async () => {
  store.close();
  await agent.destroy();
  await server[Symbol.asyncDispose]();
  await s3[Symbol.asyncDispose]();
});
beforeEach(() => {
  ids += 1;
  id = `message-${ids}`;
});

const serving = (bytes: Uint8Array, headers: Record<string, string> = {}): RequestListener => {
  return (_, response) => void response.writeHead(200, headers).end(bytes);
};
const downloaded = (body: unknown, attempt = 1): Promise<HandlerRun> =>
  runHandler(download, { body, id }, { attempt, retry: RETRY });
const resized = (body: unknown): Promise<HandlerRun> =>
  runHandler(resize, { body, id: `image-download.${id}.image-downloaded.png` }, { retry: RETRY });
const photo = (width: number, height: number) => sharp({ create: { width, height, channels: 3, background: "#4080c0" } });

function keyIn({ published }: HandlerRun): string {
  const [publication] = published;
  return JSON.parse(String(publication?.body)).r2_key;
}

describe("from a message to the small image", () => {
  it.each([
    ["jpeg", ".jpg", 1_200, 600, 200, 100],
    ["png", ".png", 300, 900, 67, 200],
    ["gif", ".gif", 400, 400, 200, 200],
    ["webp", ".webp", 64, 32, 64, 32],
  ] as const)("%s", async (format, extension, width, height, becomesWide, becomesHigh) => {
    const original = await photo(width, height).toFormat(format).toBuffer();
    answer = serving(original, { "content-type": "application/octet-stream" });
    const first = await downloaded({ url: `${server.url}/of-any-name?size=x` });
    expect(first.outcome).toEqual({ kind: "succeeded" });
    const key = keyIn(first);
    expect(key).toMatch(new RegExp(`^images/[0-9a-f]{32}\\${extension}$`));
    expect(first.published).toMatchObject([
      { subject: "image-downloaded", headers: { "Nats-Msg-Id": `image-download.${id}.image-downloaded.${format}` } },
    ]);
    const stored = await s3.get(key);
    expect([stored.contentType, original.equals(stored.bytes)]).toEqual([`image/${format}`, true]);

    const second = await resized({ r2_key: key });
    expect(second).toMatchObject({ outcome: { kind: "succeeded" }, published: [] });
    const small = await s3.get(key.replace("images/", "images_resized/"));
    expect(small.contentType).toBe(`image/${format}`);
    expect(await sharp(small.bytes).metadata()).toMatchObject({ format, width: becomesWide, height: becomesHigh });
  });

  it("another attempt overwrites both objects and adds none", async () => {
    answer = serving(await photo(300, 300).png().toBuffer());
    const url = `${server.url}/again`;
    const key = keyIn(await downloaded({ url }));
    const changed = await photo(500, 250).png().toBuffer();
    answer = serving(changed);
    expect(keyIn(await downloaded({ url }, 2))).toBe(key);
    expect(changed.equals((await s3.get(key)).bytes)).toBe(true);
    for (let attempt = 1; attempt <= 2; attempt++) expect((await resized({ r2_key: key })).outcome.kind).toBe("succeeded");
    const name = key.slice("images/".length);
    expect((await s3.keys()).filter((one) => one.endsWith(name))).toEqual([`images/${name}`, `images_resized/${name}`]);
  });

  it.each(["announced", "not announced"])(
    "another attempt that is given another format adds no object: first %s",
    async (state) => {
      const png = await photo(300, 300).png().toBuffer();
      answer = serving(png);
      const body = { url: `${server.url}/negotiated` };
      const onPublish = state === "announced" ? {} : { onPublish: fail };
      const first = await runHandler(download, { body, id }, { retry: RETRY, ...onPublish });
      answer = serving(await photo(300, 300).webp().toBuffer());
      const second = await downloaded(body, 2);
      const key = keyIn(second);
      expect(key).toMatch(/\.png$/);
      expect(second.published).toMatchObject([{ headers: { "Nats-Msg-Id": `image-download.${id}.image-downloaded.png` } }]);
      if (state === "announced") expect(first.published).toEqual(second.published);
      expect(second.logged).toMatchObject([{ event: "image.kept", fields: { key, now: "webp" } }]);
      expect((await resized({ r2_key: key })).outcome.kind).toBe("succeeded");
      const name = key.slice("images/".length, -".png".length);
      expect((await s3.keys()).filter((one) => one.includes(name))).toEqual([`images/${name}.png`, `images_resized/${name}.png`]);
      expect(png.equals((await s3.get(key)).bytes)).toBe(true);
    },
  );

  it("a new message of the same id stores what it is given, and announces it", async () => {
    const body = { url: `${server.url}/refreshed` };
    for (const format of ["png", "webp"] as const) {
      answer = serving(await photo(30, 30).toFormat(format).toBuffer());
      const { published } = await downloaded(body);
      expect(published).toMatchObject([{ headers: { "Nats-Msg-Id": `image-download.${id}.image-downloaded.${format}` } }]);
    }
  });

  it("a message whose image was stored, but not announced, is announced by the next attempt", async () => {
    answer = serving(await photo(30, 30).png().toBuffer());
    const url = `${server.url}/lost`;
    const failing = { attempt: 1, retry: RETRY, onPublish: fail };
    expect((await runHandler(download, { body: { url }, id }, failing)).outcome).toMatchObject({ kind: "retry" });
    expect((await downloaded({ url }, 2)).published).toHaveLength(1);
  });
});

describe("what becomes of a message that cannot be done", () => {
  it.each([
    ["no URL", {}],
    ["an empty URL", { url: "" }],
    ["a URL of another kind", { url: "file:///etc/passwd" }],
    ["credentials in the URL", { url: "http://user:hush@127.0.0.1/" }],
    ["a private address", { url: "http://10.0.0.1/" }],
    ["the cloud's metadata", { url: "http://169.254.169.254/latest/meta-data/" }],
    ["a header that begins a second one", { url: "http://127.0.0.1/", headers: { "x-a": "1\r\nHost: evil" } }],
    ["headers that are none", { url: "http://127.0.0.1/", headers: "Host: evil" }],
    ["no JSON", "{"],
  ])("K11: %s: to the DLQ at once, with no request and no secret in the reason", async (_, body) => {
    const before = server.requests.length;
    const { outcome, published } = await downloaded(body);
    expect(outcome).toMatchObject({ kind: "dead", reason: expect.not.stringContaining("hush") });
    expect([published, server.requests.length]).toEqual([[], before]);
  });

  it("K11: a redirect into the cluster, a page instead of an image, and a body without end: to the DLQ at once", async () => {
    const hostile: RequestListener[] = [
      (_, response) => void response.writeHead(302, { location: "http://127.0.0.2/" }).end(),
      serving(Buffer.from("<!DOCTYPE html><p>no image</p>"), { "content-type": "image/png" }),
      serving(Buffer.concat([await photo(9, 9).png().toBuffer(), Buffer.alloc(MAX_BYTES)])),
    ];
    for (const listener of hostile) {
      answer = listener;
      expect(await downloaded({ url: server.url })).toMatchObject({ outcome: { kind: "dead" }, published: [] });
    }
  });

  it("an origin that is gone for good: to the DLQ; that fails: again by the backoff; that says when: then", async () => {
    answer = (_, response) => void response.writeHead(404).end();
    expect((await downloaded({ url: server.url })).outcome.kind).toBe("dead");
    answer = (_, response) => void response.writeHead(502).end();
    expect((await downloaded({ url: server.url })).outcome).toMatchObject({ kind: "retry", delayMs: 10_000 });
    answer = (_, response) => void response.writeHead(503, { "retry-after": "77" }).end();
    expect((await downloaded({ url: server.url })).outcome).toMatchObject({ kind: "retry", delayMs: 77_000 });
    expect((await downloaded({ url: server.url }, 3)).outcome).toMatchObject({ kind: "retry", delayMs: 77_000 });
  });

  it("a store that is away: again by the backoff", async () => {
    const away = new ObjectStore({ ...s3.settings, bucket: "nowhere" });
    onTestFinished(() => away.close());
    answer = serving(await photo(9, 9).png().toBuffer());
    const worker = imageDownload({ origin: new ImageOrigin({ agent, maxBytes: MAX_BYTES }), store: away });
    const { outcome } = await runHandler(worker, { body: { url: server.url }, id }, { retry: RETRY });
    expect(outcome).toMatchObject({ kind: "retry", reason: expect.stringContaining("NoSuchBucket") });
  });

  it.each([
    ["of another folder", { r2_key: "secrets/a.png" }],
    ["out of its folder", { r2_key: "images/../secrets/a.png" }],
    ["that is missing", { r2_key: "images/missing.png" }],
    ["that is none", {}],
  ])("K11: an object %s: to the DLQ at once", async (_, body) => {
    expect((await resized(body)).outcome.kind).toBe("dead");
  });

  it("K11: an object that is no image, of too many bytes or of too many pixels: to the DLQ at once, and nothing is stored", async () => {
    const objects = {
      "no-image": Buffer.from("hello"),
      bytes: Buffer.alloc(MAX_BYTES + 1),
      pixels: await photo(1_001, 1_000).png().toBuffer(),
    };
    for (const [name, bytes] of Object.entries(objects)) {
      const key = `images/${id}-${name}.png`;
      await s3.put(key, bytes);
      expect((await resized({ r2_key: key })).outcome.kind).toBe("dead");
    }
    expect((await s3.keys()).filter((key) => key.startsWith(`images_resized/${id}`))).toEqual([]);
  });

  it("an image for which there is no time or no memory now: again by the backoff", async () => {
    const limits = { maxBytes: MAX_BYTES, maxPixels: 1e10, timeLimitSeconds: 1 };
    const key = `images/${id}.gif`;
    await s3.put(key, dots({ side: 2_000, frames: 900 }));
    const { outcome } = await runHandler(imageResize({ store, limits }), { body: { r2_key: key }, id }, { retry: RETRY });
    expect(outcome).toMatchObject({ kind: "retry", delayMs: 10_000, reason: expect.stringContaining("timeout") });
  });

  it("a worker that is told to stop stores nothing more", async () => {
    answer = serving(await photo(9, 9).png().toBuffer());
    const stopped = { retry: RETRY, signal: AbortSignal.abort(new Error("stop")) };
    expect((await runHandler(download, { body: { url: server.url }, id }, stopped)).published).toEqual([]);
    const key = `images/${id}.png`;
    await s3.put(key, await photo(9, 9).png().toBuffer());
    await runHandler(resize, { body: { r2_key: key }, id }, stopped);
    expect(await s3.keys()).not.toContain(`images_resized/${id}.png`);
  });

  it("logs neither queries nor headers", async () => {
    answer = serving(await photo(9, 9).png().toBuffer());
    const run = await downloaded({ url: `${server.url}/a?token=hush`, headers: { Authorization: "hush" } });
    expect(run.logged).toMatchObject([{ event: "image.downloaded" }]);
    expect(JSON.stringify(run.logged)).not.toContain("hush");
  });
});

function fail(): never {
  throw new Error("the broker is away");
}
