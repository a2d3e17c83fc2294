import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { readSettings } from "./settings.ts";
import { readSecret, storeSettings } from "./store-settings.ts";

const seed = { R2_ACCOUNT_ID: "acc", R2_ACCESS_KEY_ID: "key", R2_SECRET_ACCESS_KEY: "secret", R2_BUCKET: "photos" };

it("the seed's environment leads to the account at R2", async () => {
  const settings = readSettings(storeSettings, seed);
  expect(settings).toMatchObject({ endpoint: "https://acc.r2.cloudflarestorage.com", region: "auto", bucket: "photos" });
  expect([await readSecret(settings.accessKeyId), await readSecret(settings.secretAccessKey)]).toEqual(["key", "secret"]);
});

it("S3_ENDPOINT wins over the account", () => {
  expect(readSettings(storeSettings, { ...seed, S3_ENDPOINT: "http://s3:7070" }).endpoint).toBe("http://s3:7070");
});

it("a file wins over a value, and is read anew when it was changed", async () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-secret-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "secret");
  const { secretAccessKey } = readSettings(storeSettings, { ...seed, R2_SECRET_ACCESS_KEY_FILE: file });
  writeFileSync(file, "first\n");
  expect(await readSecret(secretAccessKey)).toBe("first");
  writeFileSync(file, "second\n");
  expect(await readSecret(secretAccessKey)).toBe("second");
  writeFileSync(file, "\n");
  await expect(readSecret(secretAccessKey)).rejects.toThrow(/R2_SECRET_ACCESS_KEY_FILE is empty/);
});

it("names all that is missing at once and quotes no value", () => {
  const read = () => readSettings(storeSettings, { R2_SECRET_ACCESS_KEY: "hush", R2_BUCKET: "" });
  expect(read).toThrow(
    /R2_BUCKET: is missing.*R2_ACCOUNT_ID: is missing.*S3_ENDPOINT.*R2_ACCESS_KEY_ID: is missing.*R2_ACCESS_KEY_ID_FILE/s,
  );
  expect(read).not.toThrow(/hush/);
  const wrong = () => readSettings(storeSettings, { ...seed, S3_ENDPOINT: "ftp://hush", R2_ACCOUNT_ID: "hush/../" });
  expect(wrong).toThrow(/R2_ACCOUNT_ID: must be the account's id.*S3_ENDPOINT: must be an http or https URL/s);
  expect(wrong).not.toThrow(/hush/);
});
