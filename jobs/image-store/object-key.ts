import { createHash } from "node:crypto";
import type { ImageFormat } from "./image-format.ts";

const ORIGINALS = "images/";
const RESIZED = "images_resized/";
const LONGEST_KEY_BYTES = 1024;

/** The same for every attempt at one message, so that a retry overwrites its object; of any text, so that no id can name another's object. */
export function objectName(messageId: string): string {
  return createHash("sha256").update(messageId).digest("hex").slice(0, 32);
}

export function originalKey(messageId: string, format: ImageFormat): string {
  return `${ORIGINALS}${objectName(messageId)}${format.extension}`;
}

/** Other producers may name their objects as they like, but only below `images/`: a message must not make a worker read what else is there. */
export function isOriginalKey(key: string): boolean {
  return (
    key.startsWith(ORIGINALS) &&
    Buffer.byteLength(RESIZED) - Buffer.byteLength(ORIGINALS) + Buffer.byteLength(key) <= LONGEST_KEY_BYTES &&
    !/[\p{Cc}\\]/u.test(key) &&
    key.split("/").every((part) => part !== "" && part !== "." && part !== "..")
  );
}

export function resizedKey(original: string): string {
  return `${RESIZED}${original.slice(ORIGINALS.length)}`;
}
