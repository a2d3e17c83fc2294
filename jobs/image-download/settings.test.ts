import { expect, it } from "vitest";
import { readSettings } from "../image-store/settings.ts";
import { downloadSettings } from "./settings.ts";

const store = { R2_ACCOUNT_ID: "acc", R2_ACCESS_KEY_ID: "key", R2_SECRET_ACCESS_KEY: "secret", R2_BUCKET: "photos" };

it("without a word opens no network and takes 20 MiB", () => {
  const settings = readSettings(downloadSettings, store);
  expect(settings).toMatchObject({ bucket: "photos", MAX_IMAGE_BYTES: 20_971_520, ALLOWED_NETWORKS: [], BLOCKED_NETWORKS: [] });
});

it("reads lists of networks", () => {
  const settings = readSettings(downloadSettings, {
    ...store,
    ALLOWED_NETWORKS: "10.1.0.0/16, fd00::/8,",
    BLOCKED_NETWORKS: "10.1.1.1",
  });
  expect(settings).toMatchObject({ ALLOWED_NETWORKS: ["10.1.0.0/16", "fd00::/8"], BLOCKED_NETWORKS: ["10.1.1.1"] });
});

it("names all that is wrong at once", () => {
  const read = () =>
    readSettings(downloadSettings, { MAX_IMAGE_BYTES: "-1", ALLOWED_NETWORKS: "10.0.0.0/99", BLOCKED_NETWORKS: "cluster" });
  expect(read).toThrow(/R2_BUCKET.*MAX_IMAGE_BYTES.*ALLOWED_NETWORKS: must be networks.*BLOCKED_NETWORKS: must be networks/s);
});
