/** The formats that the jobs take, and what each is called where. */
export interface ImageFormat {
  /** As sharp calls it. */
  readonly name: "jpeg" | "png" | "gif" | "webp";
  readonly extension: string;
  readonly contentType: string;
}

/** How many first bytes tell a format. */
export const SIGNATURE_BYTES = 12;

export const IMAGE_FORMATS: readonly ImageFormat[] = [
  { name: "jpeg", extension: ".jpg", contentType: "image/jpeg" },
  { name: "png", extension: ".png", contentType: "image/png" },
  { name: "gif", extension: ".gif", contentType: "image/gif" },
  { name: "webp", extension: ".webp", contentType: "image/webp" },
];

const SIGNATURES: Readonly<Record<ImageFormat["name"], (start: string) => boolean>> = {
  jpeg: (start) => start.startsWith("\xff\xd8\xff"),
  png: (start) => start.startsWith("\x89PNG\r\n\x1a\n"),
  gif: (start) => /^GIF8[79]a/.test(start),
  webp: (start) => start.startsWith("RIFF") && start.startsWith("WEBP", 8),
};

/** By content: names and `Content-Type` are what somebody says, the first bytes are what a decoder will go by. */
export function sniffImage(bytes: Uint8Array): ImageFormat | undefined {
  const start = Buffer.from(bytes.subarray(0, SIGNATURE_BYTES)).toString("latin1");
  return IMAGE_FORMATS.find(({ name }) => SIGNATURES[name](start));
}
