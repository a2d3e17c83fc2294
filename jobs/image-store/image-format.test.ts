import { expect, it } from "vitest";
import { sniffImage } from "./image-format.ts";

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

it.each([
  ["jpeg", "\xff\xd8\xff\xe0\x00\x10JFIF\0\x01"],
  ["png", "\x89PNG\r\n\x1a\n\0\0\0\rIHDR"],
  ["gif", "GIF87a\x01\0\x01\0\0\0"],
  ["gif", "GIF89a\x01\0\x01\0\0\0"],
  ["webp", "RIFF\n\r\0\0WEBPVP8 "],
])("knows %s by its first bytes", (name, bytes) => {
  expect(sniffImage(latin1(bytes))?.name).toBe(name);
});

it.each([
  "",
  "\xff\xd8",
  "<svg xmlns=",
  "<!DOCTYPE html>",
  "RIFF\0\0\0\0WAVEfmt ",
  "GIF88a\x01\0\x01\0",
  "%PDF-1.7\n%xxxx",
  "II*\0\x08\0\0\0\0\0\0\0",
  " \x89PNG\r\n\x1a\n\0\0\0",
  "\0\0\0\x1cftypavif",
])("takes %j for no image", (bytes) => {
  expect(sniffImage(latin1(bytes))).toBeUndefined();
});
