import sharp, { type Metadata } from "sharp";
import { type ImageFormat, sniffImage } from "../image-store/image-format.ts";

const MOST_SIDE_PIXELS = 200;
/** An animation costs for each frame, also when its frames have one pixel. */
const MOST_FRAMES = 1_000;
const TIME_LIMIT_SECONDS = 120;

/**
 * What libvips and its decoders say when the machine and not the image is the trouble: sharp's time limit, and memory or a thread that the system did not
 * give. They say it in the same plain errors, and in no set place, as what is wrong with an image.
 */
const PASSING =
  /\btimeout: \d+% complete|\bkilled for image|\b(?:out of|insufficient|not enough) memory\b|\bpicture memory error|\bbad_alloc\b|\b(?:unable to create|error creating) thread/i;

/** The image may be a good one: there was no time or no memory for it. Another attempt may have them. */
export class ResizeFailed extends Error {
  readonly code = "RESIZE_FAILED";
}

export interface ThumbnailLimits {
  readonly maxPixels: number;
  /** @default 120 */
  readonly timeLimitSeconds?: number;
}

export type Thumbnail =
  | {
      readonly kind: "image";
      readonly bytes: Buffer;
      readonly format: ImageFormat;
      readonly width: number;
      readonly height: number;
    }
  | { readonly kind: "refused"; readonly reason: string };

/** libvips knows dozens of formats; bytes of strangers get the decoders of these four only. Memory: no cache, one thread. */
sharp.block({ operation: ["VipsForeignLoad"] });
sharp.unblock({
  operation: ["VipsForeignLoadJpegBuffer", "VipsForeignLoadPngBuffer", "VipsForeignLoadNsgifBuffer", "VipsForeignLoadWebpBuffer"],
});
sharp.cache(false);
sharp.concurrency(1);

/**
 * The image within 200 × 200 pixels, never enlarged, in its own format, upright by its EXIF orientation and without its metadata (a photo's says where
 * it was taken). Animated GIF and WEBP stay animated; of an animated PNG the first picture is taken.
 * @throws ResizeFailed
 */
export async function thumbnail(bytes: Uint8Array, limits: ThumbnailLimits): Promise<Thumbnail> {
  const { maxPixels, timeLimitSeconds = TIME_LIMIT_SECONDS } = limits;
  const format = sniffImage(bytes);
  if (format === undefined) return refused("the object is no JPEG, PNG, GIF or WEBP, by its first bytes");
  const options = { limitInputPixels: maxPixels, failOn: "error", animated: true } as const;
  try {
    const trouble = costProblem(await sharp(bytes, options).metadata(), maxPixels);
    if (trouble !== undefined) return refused(trouble);
    const { data, info } = await sharp(bytes, options)
      .autoOrient()
      .resize({ width: MOST_SIDE_PIXELS, height: MOST_SIDE_PIXELS, fit: "inside", withoutEnlargement: true })
      .toFormat(format.name)
      .timeout({ seconds: timeLimitSeconds })
      .toBuffer({ resolveWithObject: true });
    return { kind: "image", bytes: data, format, width: info.width, height: info.pageHeight ?? info.height };
  } catch (error) {
    if (isPassing(error)) throw new ResizeFailed(`the image was not resized: ${firstLine(error)}; another attempt may help`);
    return refused(`the image cannot be decoded: ${firstLine(error)}`);
  }
}

/** An error of another kind than sharp's own, such as that of an allocation of Node's, is none of the image's either. */
export function isPassing(error: unknown): boolean {
  return !(error instanceof Error) || error.name !== "Error" || PASSING.test(error.message);
}

/** By the header alone, before anything is decoded. Samples of 16 bits take twice the memory. */
function costProblem({ width, height, pages = 1, depth }: Metadata, maxPixels: number): string | undefined {
  if (pages > MOST_FRAMES) return `the animation has ${pages} frames, more than ${MOST_FRAMES}`;
  const pixels = width * height * (depth === "uchar" ? 1 : 2);
  return pixels > maxPixels ? `the image has more than ${maxPixels} pixels (MAX_IMAGE_PIXELS)` : undefined;
}

function refused(reason: string): Thumbnail {
  return { kind: "refused", reason };
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n", 1)[0]?.slice(0, 200) ?? "";
}
