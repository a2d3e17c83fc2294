import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { historyProblems } from "../libs/contract/history-lint.ts";
import { dispatchConfig } from "../libs/contract/queue-config.ts";
import { IMAGE_SECRET } from "../scripts/install/image-pipeline.ts";
import { jobNames } from "../scripts/jobs/job-folders.ts";
import { readSettings } from "./image-store/settings.ts";
import { storeSettings } from "./image-store/store-settings.ts";

const HOUR_MS = 3_600_000;
const { workers } = parse(readFileSync(join(import.meta.dirname, "values.yaml"), "utf8"));

it("names every worker of this folder and no other", () => {
  expect(Object.keys(workers).sort()).toEqual(jobNames());
});

it("is what the services take, and fits the history that the chart keeps", () => {
  const config = dispatchConfig.parse({ queues: { default: {} }, templates: {}, workers });
  expect(historyProblems(config, 720 * HOUR_MS)).toEqual([]);
});

it("K4: the seed's 15 attempts over three days are said as they are meant", () => {
  const { retry } = dispatchConfig.parse({ queues: { default: {} }, templates: {}, workers }).workers["image-download"] ?? {};
  expect(retry).toMatchObject({ attempts: 15, backoff: { initial: 41 * 60_000, increment: 41 * 60_000 } });
});

describe("the image jobs' bucket", () => {
  const fromSecret = (name: string) => [{ secretRef: { name } }];
  const page = readFileSync(join(import.meta.dirname, "..", "docs", "image-jobs.md"), "utf8");
  const [existing, files] = [...page.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text = ""]) => parse(text).workers);
  const jobs = ["image-download", "image-resize"];

  it("is that of the Secret that `make secrets` and `make up` write", () => {
    for (const job of jobs) expect(workers[job].envFrom).toEqual(fromSecret(IMAGE_SECRET));
  });

  it("is that of an existing Secret with the values of docs/image-jobs.md", () => {
    expect(existing).toEqual(Object.fromEntries(jobs.map((job) => [job, { envFrom: fromSecret("photos-bucket") }])));
  });

  it.each(jobs)("is that of a Secret as files with the other values of it: %s", (job) => {
    const { envFrom, env, extraVolumes, extraVolumeMounts } = files[job];
    expect(envFrom).toEqual([]);
    const { accessKeyId, secretAccessKey } = readSettings(storeSettings, env);
    const [volume] = extraVolumes;
    const [mount] = extraVolumeMounts;
    expect([volume.secret.secretName, mount.name]).toEqual(["photos-bucket", volume.name]);
    for (const key of [accessKeyId, secretAccessKey]) {
      expect(key).toMatchObject({ kind: "file", path: expect.stringMatching(new RegExp(`^${mount.mountPath}/[a-z-]+$`)) });
    }
  });
});
