import { afterAll, beforeAll, it } from "vitest";
import { DOWNLOADER, Images, RESIZER } from "./images.ts";
import { MOST_IMAGE_PODS, WorkersRelease } from "./workers-release.ts";

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
  // One pod would be through with them before the autoscaler looks again.
  await release.pause(RESIZER);
  const { gate } = await images.publish("all", COUNT, "held");
  await release.pods.waitForReady(DOWNLOADER, MOST_IMAGE_PODS);
  await release.witness.openGate(gate);
  await release.pods.waitForReady(RESIZER, MOST_IMAGE_PODS);
  await release.resume(RESIZER);
  await images.allSettled();
  await release.pods.waitForNone(DOWNLOADER, RESIZER);
});
