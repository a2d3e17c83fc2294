import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { checkout } from "./job-folders.ts";

const values = z.object({ workers: z.record(z.string(), z.object({ image: z.string() })) });

/** Job → reference of its image. */
export type JobImages = Readonly<Record<string, string>>;

/** What `helm upgrade --values` takes after jobs/values.yaml: which image each worker runs. Written by the builds, never by people. */
export function imageValuesFile(root = checkout): string {
  return join(root, "dist", "jobs", "images.yaml");
}

export function readImages(root = checkout): JobImages {
  const file = imageValuesFile(root);
  if (!existsSync(file)) return {};
  const found = values.safeParse(parse(readFileSync(file, "utf8")));
  return found.success ? Object.fromEntries(Object.entries(found.data.workers).map(([job, { image }]) => [job, image])) : {};
}

export function writeImages(images: JobImages, root = checkout): void {
  const file = imageValuesFile(root);
  mkdirSync(dirname(file), { recursive: true });
  const workers = Object.fromEntries(Object.entries(images).map(([job, image]) => [job, { image }]));
  writeFileSync(
    file,
    `# Which image each worker runs, after jobs/values.yaml. Written by build-all and push-all.\n${stringify({ workers })}`,
  );
}

/** Whether a reference, of whatever registry, is of this content. */
export function isOf(reference: string | undefined, tag: string): boolean {
  return reference?.endsWith(`:${tag}`) === true;
}
