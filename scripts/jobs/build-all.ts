// Builds the images of the workers in jobs/ whose content has changed, as docker-archives.
// stdout = data, a line per image: reference, tab, path. stderr = progress. Exit codes: 0 done, 1 failed, 2 wrong usage.
import { relative } from "node:path";
import { failureText } from "../install/failure.ts";
import { readOptions } from "../install/options.ts";
import { buildAll } from "./all-images.ts";
import { imageValuesFile, readImages, writeImages } from "./image-values.ts";
import { checkout, jobNames } from "./job-folders.ts";
import { buildJobImage } from "./job-image.ts";

readOptions(
  `Usage: node scripts/jobs/build-all.ts      (make build-all)

Builds the image of each worker in jobs/ and prints its reference and the path of its archive. What has not changed is left as it is.
Also writes ${relative(checkout, imageValuesFile())}, the values that name the images.
`,
  {},
);

try {
  const progress = (line: string): void => void process.stderr.write(`${line}\n`);
  const images = await buildAll({ jobs: jobNames(), before: readImages(), build: buildJobImage, progress });
  for (const { reference, archivePath } of images) process.stdout.write(`${reference}\t${archivePath}\n`);
  writeImages(Object.fromEntries(images.map(({ job, reference }) => [job, reference])));
} catch (error) {
  process.stderr.write(`${failureText(error)}\n`);
  process.exitCode = 1;
}
