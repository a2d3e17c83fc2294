import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { Versitygw } from "../testing/versitygw.ts";
import { ObjectStore } from "./object-store.ts";
import type { StoreSettings } from "./store-settings.ts";

let s3: Versitygw;
beforeAll(async () => {
  s3 = await Versitygw.start();
});
afterAll(() => s3[Symbol.asyncDispose]());

const signal = new AbortController().signal;
const contentType = "image/png";

function storeWith(changes: Partial<StoreSettings> = {}): ObjectStore {
  const store = new ObjectStore({ ...s3.settings, ...changes });
  onTestFinished(() => store.close());
  return store;
}

it("puts an object with its type and reads it back; again overwrites it", async () => {
  const store = storeWith();
  const key = "images/again.png";
  await store.put({ key, bytes: Buffer.from("first"), contentType, signal });
  await store.put({ key, bytes: Buffer.from("second"), contentType, signal });
  expect(await s3.get(key)).toMatchObject({ contentType });
  const found = await store.get({ key, limitBytes: 100, signal });
  expect(found.kind === "object" && found.bytes.toString()).toBe("second");
  expect((await s3.keys()).filter((name) => name === key)).toHaveLength(1);
});

it("tells a missing object from a store that fails", async () => {
  expect(await storeWith().get({ key: "images/none.png", limitBytes: 100, signal })).toEqual({ kind: "missing" });
  const failing = storeWith({ bucket: "no-such-bucket" }).get({ key: "images/none.png", limitBytes: 100, signal });
  await expect(failing).rejects.toMatchObject({ code: "STORE_FAILED", message: expect.stringContaining("NoSuchBucket") });
});

it("knows whether an object is there; a store that fails is no answer", async () => {
  const [there, gone] = [
    { key: "images/there.png", signal },
    { key: "images/gone.png", signal },
  ];
  await s3.put(there.key, Buffer.from("a"));
  const store = storeWith();
  expect([await store.has(there), await store.has(gone)]).toEqual([true, false]);
  await expect(storeWith({ endpoint: "http://127.0.0.1:1" }).has(there)).rejects.toMatchObject({ code: "STORE_FAILED" });
  const reason = new Error("time is up");
  await expect(store.has({ ...there, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

it("what it may not see is as if it were not there", async () => {
  await s3.put("images/hidden.png", Buffer.from("a"));
  const stranger = storeWith({ secretAccessKey: { kind: "value", value: "wrong" } });
  expect(await stranger.has({ key: "images/hidden.png", signal })).toBe(false);
});

it("K11: reads no object beyond the limit", async () => {
  await s3.put("images/large.png", Buffer.alloc(101));
  const found = await storeWith().get({ key: "images/large.png", limitBytes: 100, signal });
  expect(found).toEqual({ kind: "too-large", limitBytes: 100 });
});

it("ends with the signal, for the signal's reason", async () => {
  const reason = new Error("time is up");
  const put = storeWith().put({
    key: "images/late.png",
    bytes: Buffer.alloc(10),
    contentType,
    signal: AbortSignal.abort(reason),
  });
  await expect(put).rejects.toBe(reason);
});

it("a refused key is no secret in the error, and a rotated one is read from its file", async () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-secret-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "secret");
  writeFileSync(path, "wrong-secret");
  const file = { kind: "file", name: "R2_SECRET_ACCESS_KEY_FILE", path } as const;
  const key = "images/rotated.png";
  const put = (store: ObjectStore) => store.put({ key, bytes: Buffer.alloc(1), contentType, signal });
  const error: unknown = await put(storeWith({ secretAccessKey: file })).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "STORE_FAILED", message: expect.stringContaining("SignatureDoesNotMatch") });
  expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toMatch(/test-access-key|wrong-secret/);
  if (s3.settings.secretAccessKey.kind === "value") writeFileSync(path, s3.settings.secretAccessKey.value);
  await put(storeWith({ secretAccessKey: file }));
  expect(await s3.keys()).toContain(key);
});

it("says which file of a secret cannot be read", async () => {
  const store = storeWith({ accessKeyId: { kind: "file", name: "R2_ACCESS_KEY_ID_FILE", path: "/nowhere" } });
  const put = store.put({ key: "images/x.png", bytes: Buffer.alloc(1), contentType, signal });
  await expect(put).rejects.toThrow(/R2_ACCESS_KEY_ID_FILE cannot be read \(ENOENT\): \/nowhere/);
});
