import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { parse } from "yaml";
import { imageValuesFile, isOf, readImages, writeImages } from "./image-values.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "millrace-values-"));
});
afterEach(() => rmSync(root, { recursive: true }));

it("is values for the chart, and is read back", () => {
  writeImages({ one: "localhost/one:abc" }, root);
  expect(parse(readFileSync(imageValuesFile(root), "utf8"))).toEqual({ workers: { one: { image: "localhost/one:abc" } } });
  expect(readImages(root)).toEqual({ one: "localhost/one:abc" });
});

it("is nothing where nothing was built, or somebody wrote something else", () => {
  expect(readImages(root)).toEqual({});
  mkdirSync(dirname(imageValuesFile(root)), { recursive: true });
  writeFileSync(imageValuesFile(root), "workers: [1]\n");
  expect(readImages(root)).toEqual({});
});

it("knows content by its tag, at whatever registry", () => {
  expect(isOf("localhost/one:abc", "abc")).toBe(true);
  expect(isOf("a.test:5000/one:abc", "abc")).toBe(true);
  expect(isOf("a.test:5000/one:abcd", "abc")).toBe(false);
  expect(isOf(undefined, "abc")).toBe(false);
});
