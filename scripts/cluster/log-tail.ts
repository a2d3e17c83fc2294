import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** Enough for 20 long lines; logs of a long-lived cluster are too large to read whole for an error message. */
const TAIL_BYTES = 16_384;

export function lastLines(text: string, count = 20): string {
  return text.trimEnd().split("\n").slice(-count).join("\n");
}

/** A missing log is an answer too: the component never got as far as opening it. */
export function logTail(path: string, count = 20): string {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch {
    return "(no log yet)";
  }
  try {
    const size = fstatSync(descriptor).size;
    const length = Math.min(size, TAIL_BYTES);
    const buffer = Buffer.alloc(length);
    readSync(descriptor, buffer, 0, length, size - length);
    return lastLines(buffer.toString("utf8"), count);
  } finally {
    closeSync(descriptor);
  }
}
