import { afterAll, beforeAll, expect, it } from "vitest";
import { DOWNLOADER, Images, RESIZER } from "./images.ts";
import { WorkersRelease } from "./workers-release.ts";

const COUNT = process.env["SOAK"] === "1" ? 200 : 40;

let release: WorkersRelease;
let images: Images;
beforeAll(async () => {
  release = await WorkersRelease.open();
  images = await Images.open(release);
});
afterAll(() => release[Symbol.asyncDispose]());

it(`${COUNT} images: pods 0 → N → 0, each resized exactly once by its key, none in the DLQ`, async () => {
  await release.pods.waitForNone(DOWNLOADER, RESIZER);
  release.pods.forget();
  await images.publish("all", COUNT);
  await images.allSettled();
  expect([release.pods.most(DOWNLOADER), release.pods.most(RESIZER)]).toEqual([
    expect.toSatisfy(isMany),
    expect.toSatisfy(isMany),
  ]);
  await release.pods.waitForNone(DOWNLOADER, RESIZER);
});

const isMany = (pods: number): boolean => pods > 1;
