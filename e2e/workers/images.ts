import { randomBytes } from "node:crypto";
import sharp from "sharp";
import { expect, vi } from "vitest";
import { objectName, resizedKey } from "../../jobs/image-store/object-key.ts";
import { witnessUrl } from "../harness/witness.ts";
import type { WorkersRelease } from "./workers-release.ts";

export const DOWNLOADER = "image-download";
export const RESIZER = "image-resize";
const FORMATS = ["jpg", "png", "gif", "webp"] as const;
const LARGEST_SIDE = 200;
const SETTLED_MS = { least: 150_000, perImage: 1_000 } as const;

/** What was published together, and is judged by itself: what another test left behind is not held against it. */
export interface Batch {
  /** What the downloaders will ask the witness for; they are the messages' ids, too. */
  readonly paths: readonly string[];
  /** Before it opens they are not answered, when they are held. */
  readonly gate: string;
  /** What was there before it. */
  readonly before: {
    /** Messages that the image workers had not done yet. */
    readonly held: number;
    readonly keys: ReadonlySet<string>;
  };
}

/** What became of a batch. */
export interface Verdict {
  /** Images that are not there, as they were and small. */
  readonly lost: number;
  /** Objects too many, and ends too many: one that is there and in the DLQ has two. */
  readonly doubled: number;
  /** All that is not as it should be, in sentences. */
  readonly problems: readonly string[];
  /** When it was all there, of `performance.now()`; null: not in time. */
  readonly settledAtMs: number | null;
}

/** One image, by the objects that bear its name. */
interface Seen {
  readonly path: string;
  readonly originals: readonly string[];
  readonly resized: readonly string[];
}

/** Messages of the image pipeline, and what must have become of them. */
export class Images {
  readonly #release: WorkersRelease;
  readonly #batches: Batch[] = [];

  private constructor(release: WorkersRelease) {
    this.#release = release;
  }

  static open(release: WorkersRelease): Promise<Images> {
    return Promise.resolve(new Images(release));
  }

  async publish(label: string, count: number, answered: "held" | "at once" = "at once"): Promise<Batch> {
    const { millrace } = this.#release;
    // The broker, the bucket and the witness know what was before.
    const gate = `${label}-${randomBytes(4).toString("hex")}`;
    const folder = answered === "held" ? `/held/${gate}` : "/pictures";
    const paths = Array.from({ length: count }, (_, index) => `${folder}/${gate}-${index}.${FORMATS[index % FORMATS.length]}`);
    const batch = { paths, gate, before: { held: await this.#held(), keys: new Set(await this.#keys()) } };
    this.#batches.push(batch);
    const url = witnessUrl(millrace.names.namespace);
    await Promise.all(paths.map((path) => this.#release.publish(DOWNLOADER, path, JSON.stringify({ url: `${url}${path}` }))));
    return batch;
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

  /** Asserts of all that was published here what `verdict` says of one batch. */
  async allSettled(): Promise<void> {
    for (const batch of this.#batches) expect((await this.verdict(batch)).problems, batch.gate).toEqual([]);
  }

  /** Waits until every image is there once as it was and once no larger than 200 pixels, nothing was given up and nothing is left. */
  async verdict(batch: Batch): Promise<Verdict> {
    const left = async (): Promise<number> => Math.max(0, (await this.#held()) - batch.before.held);
    const isAllThere = async (): Promise<void> => {
      const missing = see(batch, await this.#keys()).filter(isMissing).length;
      expect({ missing, left: await left() }).toEqual({ missing: 0, left: 0 });
    };
    const timeout = SETTLED_MS.least + SETTLED_MS.perImage * batch.paths.length;
    // What keeps it from settling is said below, with everything else.
    const settledAtMs = await vi.waitFor(isAllThere, { timeout, interval: 500 }).then(
      () => performance.now(),
      () => null,
    );

    const keys = await this.#keys();
    const seen = see(batch, keys);
    const dead = await this.#deadLetters(batch);
    const nobodys = this.#nobodys(batch, keys);
    const large = await this.#wronglySized(seen.flatMap(({ resized }) => resized));
    const stuck = await left();
    const problems = [
      ...seen.filter((image) => !isWhole(image)).map(({ path, ...objects }) => `${path} became ${JSON.stringify(objects)}`),
      ...dead.map(({ path, why }) => `${path} was given up: ${why}`),
      ...nobodys.map((key) => `${key} is of no image that was published`),
      ...large.map((key) => `${key} is not of ${LARGEST_SIDE} pixels`),
      ...(stuck > 0 ? [`${stuck} messages are left`] : []),
    ];
    const tooMany = seen.map((image) => {
      const ends = (isMissing(image) ? 0 : 1) + dead.filter(({ path }) => path === image.path).length;
      return beyondOne(image.originals.length) + beyondOne(image.resized.length) + beyondOne(ends);
    });
    const doubled = tooMany.reduce((sum, count) => sum + count, nobodys.length);
    return { lost: seen.filter(isMissing).length, doubled, problems, settledAtMs };
  }

  async #keys(): Promise<string[]> {
    return (await this.#release.store.objects()).map(({ key }) => key);
  }

  /** Objects that came with it and bear no name of a message. When somebody's messages were not done yet, they may be theirs. */
  #nobodys({ before }: Batch, keys: readonly string[]): string[] {
    if (before.held > 0) return [];
    const names = new Set(this.#batches.flatMap(({ paths }) => paths.map(objectName)));
    return keys.filter((key) => !before.keys.has(key) && !names.has(nameOf(key)));
  }

  /** What the image workers have yet to do. */
  async #held(): Promise<number> {
    const { waiting, running, asleep } = await this.#release.heldBy(DOWNLOADER, RESIZER);
    return waiting + running + asleep;
  }

  async #deadLetters({ paths }: Batch): Promise<{ readonly path: string; readonly why: string }[]> {
    const downloads = (await this.#release.deadLetters(DOWNLOADER)).map((entry) => ({ ...entry, path: entry.id }));
    const resizes = (await this.#release.deadLetters(RESIZER)).map((entry) => {
      const key = entry.body.toString();
      return { ...entry, path: paths.find((path) => key.includes(objectName(path))) ?? "" };
    });
    return [...downloads, ...resizes]
      .filter(({ path }) => paths.includes(path))
      .map(({ path, subject, class: ended, reason }) => ({ path, why: `${subject}: ${ended}: ${reason}` }));
  }

  async #wronglySized(keys: readonly string[]): Promise<string[]> {
    const found = await this.#release.store.read(keys);
    const side = ({ width, height }: { readonly width: number; readonly height: number }): number => Math.max(width, height);
    // What is no image has no side.
    const sides = await Promise.all(
      found.map((bytes) =>
        sharp(bytes)
          .metadata()
          .then(side, () => 0),
      ),
    );
    return keys.filter((_, index) => sides[index] !== LARGEST_SIDE);
  }
}

const nameOf = (key: string): string => key.replace(/^.*\/|\.[^.]*$/g, "");

function see({ paths }: Batch, keys: readonly string[]): Seen[] {
  const byName = Map.groupBy(keys, nameOf);
  return paths.map((path) => {
    const own = byName.get(objectName(path)) ?? [];
    const below = (folder: string): string[] => own.filter((key) => key.startsWith(`${folder}/`));
    return { path, originals: below("images"), resized: below("images_resized") };
  });
}

const isMissing = ({ originals, resized }: Seen): boolean => originals.length === 0 || resized.length === 0;

/** As one object, and as its small copy. */
function isWhole({ originals, resized }: Seen): boolean {
  const [original = "", ...more] = originals;
  return more.length === 0 && resized.length === 1 && resized[0] === resizedKey(original);
}

const beyondOne = (count: number): number => Math.max(0, count - 1);
