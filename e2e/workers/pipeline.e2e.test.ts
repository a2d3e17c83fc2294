import { afterAll, beforeAll, it } from "vitest";
import { playOnImages } from "./image-fault.ts";
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
  const about = {
    fault: "workers: images from nothing",
    what: "no pod was there, then as many as may be, first to download and then to resize; from the publish to the last small image",
    label: "all",
    count: COUNT,
  };
  await release.pods.waitForNone(DOWNLOADER, RESIZER);
  await playOnImages({ release, images, ...about }, async ({ gate }, healing) => {
    healing();
    try {
      // One pod would be through with them before the autoscaler looks again.
      await release.pause(RESIZER);
      await release.pods.waitForReady(DOWNLOADER, MOST_IMAGE_PODS);
      await release.witness.openGate(gate);
      await release.pods.waitForReady(RESIZER, MOST_IMAGE_PODS);
    } finally {
      await release.resume(RESIZER);
    }
  });
  await release.pods.waitForNone(DOWNLOADER, RESIZER);
});
