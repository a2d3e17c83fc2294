/** The formats that the jobs take, and what each is called where. */
export interface ImageFormat {
  /** As sharp calls it. */
  readonly name: "jpeg" | "png" | "gif" | "webp";
  readonly extension: string;
  readonly contentType: string;
}

/** How many first bytes tell a format. */
export const SIGNATURE_BYTES = 12;

const FORMATS: readonly (ImageFormat & { readonly starts: (start: string) => boolean })[] = [
  { name: "jpeg", extension: ".jpg", contentType: "image/jpeg", starts: (start) => start.startsWith("\xff\xd8\xff") },
  { name: "png", extension: ".png", contentType: "image/png", starts: (start) => start.startsWith("\x89PNG\r\n\x1a\n") },
  { name: "gif", extension: ".gif", contentType: "image/gif", starts: (start) => /^GIF8[79]a/.test(start) },
  {
    name: "webp",
    extension: ".webp",
    contentType: "image/webp",
    starts: (start) => start.startsWith("RIFF") && start.startsWith("WEBP", 8),
  },
];

/** By content: names and `Content-Type` are what somebody says, the first bytes are what a decoder will go by. */
export function sniffImage(bytes: Uint8Array): ImageFormat | undefined {
  const start = Buffer.from(bytes.subarray(0, SIGNATURE_BYTES)).toString("latin1");
  const found = FORMATS.find(({ starts }) => starts(start));
  if (found === undefined) return undefined;
  const { name, extension, contentType } = found;
  return { name, extension, contentType };
}
