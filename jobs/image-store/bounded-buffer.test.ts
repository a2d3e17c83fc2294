import { expect, it } from "vitest";
import { BoundedBuffer } from "./bounded-buffer.ts";

it("keeps what it was given, in order, over every growth", () => {
  const buffer = new BoundedBuffer(300_000);
  const pieces = Array.from({ length: 3_000 }, (_, index) => Buffer.alloc(100, index % 256));
  for (const piece of pieces) expect(buffer.append(piece)).toBe(true);
  expect(buffer.bytes.equals(Buffer.concat(pieces))).toBe(true);
});

it("K11: takes the limit and not a byte more", () => {
  const buffer = new BoundedBuffer(4);
  expect(buffer.append(Buffer.from("abcd"))).toBe(true);
  expect(buffer.append(Buffer.from("e"))).toBe(false);
  expect(buffer.bytes.toString()).toBe("abcd");
});

it("K11: pieces of a byte each cost no more than their bytes", () => {
  const network = Buffer.alloc(1_000_000, 1);
  const buffer = new BoundedBuffer(1_000_000);
  for (let at = 0; at < network.byteLength; at++) buffer.append(network.subarray(at, at + 1));
  expect(buffer.bytes.byteLength).toBe(1_000_000);
  expect(buffer.bytes.buffer.byteLength).toBeLessThanOrEqual(1_000_000);
  expect(buffer.bytes.buffer).not.toBe(network.buffer);
});
