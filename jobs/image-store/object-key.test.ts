import { expect, it } from "vitest";
import { isOriginalKey, objectName, originalKey, resizedKey } from "./object-key.ts";

const png = { name: "png", extension: ".png", contentType: "image/png" } as const;

it("a retry of a message names the same object, another message another one", () => {
  expect(originalKey("WORK-7-1", png)).toBe(originalKey("WORK-7-1", png));
  expect(objectName("WORK-7-1")).not.toBe(objectName("WORK-7-2"));
});

it.each(["../../x", "a/b", "", "ä\u0000", "x".repeat(5_000)])("of any id (%j) comes a plain name", (id) => {
  expect(originalKey(id, png)).toMatch(/^images\/[0-9a-f]{32}\.png$/);
  expect(isOriginalKey(originalKey(id, png))).toBe(true);
});

it("the resized object keeps the name", () => {
  expect(resizedKey("images/abc.jpg")).toBe("images_resized/abc.jpg");
  expect(resizedKey("images/a/images/b")).toBe("images_resized/a/images/b");
});

it.each([
  "secrets/a.png",
  "images",
  "images/",
  "images//a",
  "/images/a",
  "images/../secrets/a",
  "images/./a",
  "images/a/..",
  "images/a\n",
  "images/a\\..\\b",
  "images_resized/a.png",
  `images/${"a".repeat(1_020)}`,
])("K11: %j is no object that a message may name", (key) => {
  expect(isOriginalKey(key)).toBe(false);
});

it.each(["images/a.png", "images/2030/a b.png", "images/ä", "images/..a", `images/${"a".repeat(1_009)}`])("%j is one", (key) => {
  expect(isOriginalKey(key)).toBe(true);
});
