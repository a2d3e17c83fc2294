import { randomBytes } from "node:crypto";
import sharp from "sharp";
import { expect, vi } from "vitest";
import { witnessUrl } from "../harness/witness.ts";
import type { WorkersRelease } from "./workers-release.ts";

export const DOWNLOADER = "image-download";
export const RESIZER = "image-resize";
const FORMATS = ["jpg", "png", "gif", "webp"] as const;
const LARGEST_SIDE = 200;
const SETTLED_MS = 180_000;

interface Batch {
  /** What the downloaders will ask the witness for. */
  readonly paths: readonly string[];
  /** Before it opens they are not answered, when they are held. */
  readonly gate: string;
}

/** Messages of the image pipeline, and what must have become of all that were ever published. */
export class Images {
  readonly #release: WorkersRelease;
  /** Another file of tests may have published before. */
  #published: number;

  private constructor(release: WorkersRelease, published: number) {
    this.#release = release;
    this.#published = published;
  }

  static async open(release: WorkersRelease): Promise<Images> {
    const keys = (await release.store.objects()).map(({ key }) => key);
    return new Images(release, keys.filter((key) => key.startsWith("images/")).length);
  }

  async publish(label: string, count: number, answered: "held" | "at once" = "at once"): Promise<Batch> {
    const { millrace } = this.#release;
    // The broker, the bucket and the witness know what was before.
    const gate = `${label}-${randomBytes(4).toString("hex")}`;
    const folder = answered === "held" ? `/held/${gate}` : "/pictures";
    const paths = Array.from({ length: count }, (_, index) => `${folder}/${gate}-${index}.${FORMATS[index % FORMATS.length]}`);
    const url = witnessUrl(millrace.names.namespace);
    await Promise.all(paths.map((path) => this.#release.publish(DOWNLOADER, path, JSON.stringify({ url: `${url}${path}` }))));
    this.#published += count;
    return { paths, gate };
  }

  /** Resolves when so many of the pictures were asked for. */
  async fetched(paths: readonly string[], count: number): Promise<void> {
    await this.#release.witness.waitFor("fetches", ({ what, key }) => what === "fetched" && paths.includes(key), count);
  }

  /** How often pictures were asked for that had been asked for before. */
  refetched(paths: readonly string[]): number {
    const { told } = this.#release.witness;
    const fetches = told.filter(({ what, key }) => what === "fetched" && paths.includes(key));
    return fetches.length - new Set(fetches.map(({ key }) => key)).size;
  }

  /** Every image that was ever published is there once as it was, and once no larger than 200 pixels; nothing was given up, nothing is left. */
  async allSettled(): Promise<void> {
    const { store } = this.#release;
    const bare = (keys: readonly string[], folder: string): string[] =>
      keys.filter((key) => key.startsWith(`${folder}/`)).map((key) => key.slice(folder.length + 1));
    const find = async () => {
      const keys = (await store.objects()).map(({ key }) => key);
      return { originals: bare(keys, "images").sort(), resized: bare(keys, "images_resized").sort() };
    };
    const { originals, resized } = await vi.waitFor(
      async () => {
        const found = await find();
        const held = await this.#release.heldBy(DOWNLOADER, RESIZER);
        expect({ ...held, originals: found.originals.length, resized: found.resized.length }).toEqual({
          waiting: 0,
          running: 0,
          asleep: 0,
          originals: this.#published,
          resized: this.#published,
        });
        return found;
      },
      { timeout: SETTLED_MS, interval: 500 },
    );
    expect(resized).toEqual(originals);
    const sides = await Promise.all(
      (await store.read(resized.map((key) => `images_resized/${key}`))).map(async (bytes) => {
        const { width, height } = await sharp(bytes).metadata();
        return Math.max(width, height);
      }),
    );
    expect(new Set(sides)).toEqual(new Set([LARGEST_SIDE]));
    expect([...(await this.#release.deadLetters(DOWNLOADER)), ...(await this.#release.deadLetters(RESIZER))]).toEqual([]);
  }
}
