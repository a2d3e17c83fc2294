import type { PushTarget } from "../install/registry.ts";
import { isOf, type JobImages } from "./image-values.ts";
import type { JobImage } from "./job-image.ts";

interface Step {
  readonly jobs: readonly string[];
  readonly build: (job: string) => Promise<JobImage>;
  /** A line per worker, for people. */
  readonly progress: (line: string) => void;
}

export interface BuildOptions extends Step {
  /** What images.yaml says so far. */
  readonly before: JobImages;
}

export interface PushOptions extends Step {
  /** host[:port]/path */
  readonly place: string;
  /** The tag that `build` would give, for less. */
  readonly tagOf: (job: string) => Promise<string>;
  readonly registry: {
    /** The reference to pull by, when it is there. */
    readonly has: (target: PushTarget) => Promise<string | undefined>;
    readonly push: (image: JobImage, target: PushTarget) => Promise<string>;
  };
}

/** All of them: the archive of content that has been built before is there already, and is taken. */
export async function buildAll({ jobs, before, build, progress }: BuildOptions): Promise<readonly JobImage[]> {
  const images: JobImage[] = [];
  for (const job of jobs) {
    const image = await build(job);
    progress(`${job}: ${isOf(before[job], image.tag) ? "unchanged" : "built"}`);
    images.push(image);
  }
  return images;
}

/** Builds what the registry has not, and nothing else: a machine without the archives of others' builds does not make them again. */
export async function pushAll({ jobs, place, tagOf, build, registry, progress }: PushOptions): Promise<JobImages> {
  const images: Record<string, string> = {};
  for (const job of jobs) {
    const there = await registry.has({ place, name: job, tag: await tagOf(job) });
    if (there !== undefined) {
      progress(`${job}: unchanged`);
      images[job] = there;
      continue;
    }
    const image = await build(job);
    progress(`${job}: pushing ${image.reference}`);
    // By its own tag: somebody may have saved a file since.
    images[job] = await registry.push(image, { place, name: job, tag: image.tag });
  }
  return images;
}
