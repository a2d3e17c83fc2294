import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { network } from "../cluster/network.ts";
import { buildJobImage } from "../jobs/job-image.ts";
import { ObjectStore } from "./object-store.ts";
import { Pictures } from "./pictures.ts";
import type { Progress, Target } from "./target.ts";

/** What the image workers know of the store. */
export const IMAGE_SECRET = "image-jobs";
const DOWNLOADER = "image-download";
const valuesFile = join(import.meta.dirname, "../../jobs/values.yaml");

const worker = z.looseObject({ env: z.record(z.string(), z.string()).default({}) });
const valuesSchema = z.looseObject({ workers: z.record(z.string(), worker) });

export interface ImageWorkers {
  readonly workers: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** The image workers, with a store and pictures of the cluster's own: a pipeline that needs nothing from outside. */
export class ImagePipeline {
  readonly #target: Target;
  readonly #store: ObjectStore;
  readonly #pictures: Pictures;

  constructor(options: { readonly target: Target; readonly namespace: string }) {
    this.#target = options.target;
    this.#store = new ObjectStore({ ...options, secret: IMAGE_SECRET });
    this.#pictures = new Pictures(options);
  }

  /** One that is there stays, whether or not it is asked for again. */
  async exists(): Promise<boolean> {
    return (await this.#target.exists()) && (await this.#store.exists().catch(() => false));
  }

  plan(): string {
    return `images of the workers: build and import what is not there; ${this.#store.plan()}; a few pictures at ${this.#pictures.url}`;
  }

  /** The values of the workers, once all is there that they need. */
  async ensure(progress: Progress): Promise<ImageWorkers> {
    const workers = await importImageWorkers(this.#target, progress);
    await this.#store.ensure(progress);
    await this.#pictures.ensure();
    return workers;
  }
}

/** What `values.yaml` of the jobs says, with images that were just imported; the downloader may ask the cluster's own Services. */
export async function importImageWorkers(target: Pick<Target, "importImage">, progress: Progress): Promise<ImageWorkers> {
  const { workers } = valuesSchema.parse(parse(await readFile(valuesFile, "utf8")));
  const built: [string, Readonly<Record<string, unknown>>][] = [];
  for (const [name, { env, ...rest }] of Object.entries(workers)) {
    const image = await buildJobImage(name);
    await target.importImage(image, progress);
    const allowed = name === DOWNLOADER ? { ALLOWED_NETWORKS: network.serviceSubnet } : {};
    built.push([name, { ...rest, image: image.reference, env: { ...env, ...allowed } }]);
  }
  return { workers: Object.fromEntries(built) };
}
