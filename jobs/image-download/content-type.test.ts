import { expect, it } from "vitest";
import { typeOfNoImage } from "./content-type.ts";

it.each([
  ["text/html", "text/html"],
  ["Text/HTML; charset=utf-8", "text/html"],
  [" text/css ;", "text/css"],
  ["application/json", "application/json"],
  ["application/problem+json", "application/problem+json"],
  ["application/xml", "application/xml"],
  ["application/xhtml+xml", "application/xhtml+xml"],
  ["application/javascript", "application/javascript"],
  ["application/pdf", "application/pdf"],
  ["video/mp4", "video/mp4"],
  ["audio/mpeg", "audio/mpeg"],
  ["multipart/x-mixed-replace; boundary=x", "multipart/x-mixed-replace"],
])("%s is no image", (header, type) => {
  expect(typeOfNoImage(header)).toBe(type);
});

it.each([
  undefined,
  "",
  "image/png",
  "image/jpg",
  "image/svg+xml",
  "application/octet-stream",
  "binary/octet-stream",
  "application/x-download",
  "application/json-ish",
  "text/plain",
  "text/plain; charset=utf-8",
  "text",
  "*/*",
  "jpeg",
])("%j says nothing that the first bytes would not say better", (header) => {
  expect(typeOfNoImage(header)).toBeUndefined();
});

it("of several the one that is no image counts", () => {
  expect(typeOfNoImage(["image/png", "text/html"])).toBe("text/html");
});

it("what is no type is not repeated to anybody", () => {
  expect(typeOfNoImage(`text/${"x".repeat(101)}`)).toBeUndefined();
  expect(typeOfNoImage("text/<b>\u00e9")).toBeUndefined();
});
