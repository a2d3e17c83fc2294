import { crc32, deflateSync } from "node:zlib";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { dots } from "../testing/dots.ts";
import { isPassing, type Thumbnail, thumbnail } from "./thumbnail.ts";

const maxPixels = 1_000_000;
const FORMATS = ["jpeg", "png", "gif", "webp"] as const;

const plain = (width: number, height: number) => sharp({ create: { width, height, channels: 3, background: "#c04020" } });

async function resized(bytes: Uint8Array): Promise<Thumbnail & { readonly kind: "image" }> {
  const result = await thumbnail(bytes, { maxPixels });
  if (result.kind !== "image") throw new Error(result.reason);
  return result;
}

describe.each(FORMATS)("%s", (format) => {
  it.each([
    ["lying", 800, 400, 200, 100],
    ["standing", 300, 900, 67, 200],
    ["square", 201, 201, 200, 200],
    ["fitting", 200, 150, 200, 150],
    ["small, never enlarged", 16, 9, 16, 9],
    ["a line", 900, 1, 200, 1],
  ])("%s: %d × %d becomes %d × %d and keeps its format", async (_, width, height, becomesWide, becomesHigh) => {
    const result = await resized(await plain(width, height).toFormat(format).toBuffer());
    const { width: isWide, height: isHigh, format: is } = await sharp(result.bytes).metadata();
    expect([is, isWide, isHigh]).toEqual([format, becomesWide, becomesHigh]);
    expect(result).toMatchObject({ width: becomesWide, height: becomesHigh, format: { name: format } });
  });
});

it("applies a photo's orientation and leaves out its metadata", async () => {
  const photo = await plain(800, 400)
    .jpeg()
    .withExif({ IFD0: { Copyright: "me" }, IFD3: { GPSLatitudeRef: "N" } })
    .toBuffer();
  const turned = await sharp(photo).keepMetadata().withMetadata({ orientation: 6 }).toBuffer();
  const result = await resized(turned);
  const metadata = await sharp(result.bytes).metadata();
  expect([metadata.width, metadata.height]).toEqual([100, 200]);
  expect([metadata.exif, metadata.orientation]).toEqual([undefined, undefined]);
});

it("takes an image for what its bytes are", async () => {
  expect((await resized(await plain(10, 10).webp().toBuffer())).format).toEqual({
    name: "webp",
    extension: ".webp",
    contentType: "image/webp",
  });
});

describe("animations", () => {
  const frames = 3;
  const film = (side: number) => {
    const bytes = Buffer.alloc(side * side * frames * 3);
    for (let frame = 0; frame < frames; frame++) bytes.fill(80 * frame, side * side * 3 * frame, side * side * 3 * (frame + 1));
    return sharp(bytes, { raw: { width: side, height: side * frames, channels: 3, pageHeight: side } });
  };

  it.each(["gif", "webp"] as const)("an animated %s stays one, with its frames and their times", async (format) => {
    const delay = [100, 200, 300];
    const result = await resized(await film(300).toFormat(format, { delay, loop: 2 }).toBuffer());
    const metadata = await sharp(result.bytes, { animated: true }).metadata();
    expect(metadata).toMatchObject({ format, pages: frames, width: 200, pageHeight: 200, delay, loop: 2 });
    expect(result).toMatchObject({ width: 200, height: 200 });
  });

  it("K11: all frames count against the pixel limit", async () => {
    const bytes = await film(300).gif().toBuffer();
    expect(await thumbnail(bytes, { maxPixels: 300 * 300 * frames - 1 })).toMatchObject({ kind: "refused" });
    expect((await thumbnail(bytes, { maxPixels: 300 * 300 * frames })).kind).toBe("image");
  });

  it("K11: frames of a pixel each are not free", async () => {
    expect(await thumbnail(dots({ side: 1, frames: 20_000 }), { maxPixels })).toMatchObject({
      kind: "refused",
      reason: expect.stringContaining("20000 frames"),
    });
  });
});

describe("K11: what is refused, for good", () => {
  it("more pixels than the limit, before they are decoded", async () => {
    const bytes = await plain(1_001, 1_000).png().toBuffer();
    expect(await thumbnail(bytes, { maxPixels })).toMatchObject({ kind: "refused", reason: expect.stringContaining("pixel") });
  });

  it("16 bits a sample count twice", async () => {
    const bytes = await plain(800, 800).toColourspace("rgb16").png().toBuffer();
    expect(await thumbnail(bytes, { maxPixels })).toMatchObject({
      kind: "refused",
      reason: expect.stringContaining("MAX_IMAGE_PIXELS"),
    });
  });

  it("a decompression bomb: 4 KB that say they are a million times as much", async () => {
    expect(await thumbnail(bomb(60_000, 60_000), { maxPixels: 50_000_000 })).toMatchObject({
      kind: "refused",
      reason: expect.stringContaining("pixel"),
    });
  });

  it("a broken image", async () => {
    const bytes = await plain(300, 300).jpeg().toBuffer();
    expect((await thumbnail(bytes.subarray(0, bytes.length / 2), { maxPixels })).kind).toBe("refused");
  });

  it.each([
    [
      "an SVG",
      Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>'),
    ],
    ["a text", Buffer.from("hello")],
    ["nothing", Buffer.alloc(0)],
    ["a signature alone", Buffer.from("\x89PNG\r\n\x1a\n", "latin1")],
  ])("%s", async (_, bytes) => {
    expect((await thumbnail(bytes, { maxPixels })).kind).toBe("refused");
  });

  it.each(["tiff", "avif"] as const)("%s, for which no decoder is left", async (format) => {
    const bytes = await plain(9, 9).toFormat(format).toBuffer();
    expect((await thumbnail(bytes, { maxPixels })).kind).toBe("refused");
    await expect(sharp(bytes).metadata()).rejects.toThrow(/unsupported/);
  });
});

describe("what may pass is thrown, so that it is tried again", () => {
  it("sharp's time limit", async () => {
    const bytes = dots({ side: 2_000, frames: 900 });
    await expect(thumbnail(bytes, { maxPixels: 1e10, timeLimitSeconds: 1 })).rejects.toMatchObject({
      code: "RESIZE_FAILED",
      message: expect.stringMatching(/^the image was not resized: timeout: \d+% complete; another attempt may help$/),
    });
  });

  it.each([
    'timeout: 33% complete\nVipsImage: killed for image "temp-74"\nvips2png: unable to write to target target',
    "Input buffer has corrupt header: vips_tracked: out of memory -- size == 61MB",
    "VipsJpeg: Insufficient memory (case 4)",
    "gifload_buffer: Out of memory",
    "webpsave: picture memory error",
    "std::bad_alloc",
    "glib: Error creating thread: Resource temporarily unavailable",
    "vips_g_thread_new: unable to create thread",
  ])("%j", (message) => {
    expect(isPassing(new Error(message))).toBe(true);
  });

  it("what Node itself could not give", () => {
    expect(isPassing(new RangeError("Array buffer allocation failed"))).toBe(true);
  });

  it.each([
    "VipsJpeg: premature end of JPEG image",
    "Input buffer contains unsupported image format",
    "Input image exceeds pixel limit",
    "pngload_buffer: libspng read error",
    "vips_image_new_from_memory: memory area too small",
  ])("but not %j", (message) => {
    expect(isPassing(new Error(message))).toBe(false);
  });
});

/** A PNG of one colour that claims any size: what it would unpack to is not in the file. */
function bomb(width: number, height: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 6, 0, 0, 0], 8);
  const data = deflateSync(Buffer.alloc(4_000_000), { level: 9 });
  return Buffer.concat([
    Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    piece("IHDR", header),
    piece("IDAT", data),
    piece("IEND", Buffer.alloc(0)),
  ]);
}

function piece(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, checksum]);
}
