import sharp, { type Metadata } from "sharp";
import { type ImageFormat, sniffImage } from "../image-store/image-format.ts";

const MOST_SIDE_PIXELS = 200;
/** An animation costs for each frame, also when its frames have one pixel. */
const MOST_FRAMES = 1_000;
const TIME_LIMIT_SECONDS = 120;

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
 */
export async function thumbnail(bytes: Uint8Array, { maxPixels }: { readonly maxPixels: number }): Promise<Thumbnail> {
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
      .timeout({ seconds: TIME_LIMIT_SECONDS })
      .toBuffer({ resolveWithObject: true });
    return { kind: "image", bytes: data, format, width: info.width, height: info.pageHeight ?? info.height };
  } catch (error) {
    return refused(`the image cannot be decoded: ${firstLine(error)}`);
  }
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
