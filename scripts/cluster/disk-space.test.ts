import { expect, it } from "vitest";
import { FREE_FOR_BUILD, FREE_FOR_CLUSTER, freeBytes, requireFreeSpace } from "./disk-space.ts";

it("refuses before the work, and names the folder, what is there and what is needed", () => {
  const free = (folder: string): number => (folder === "/small" ? FREE_FOR_BUILD.bytes - 1 : FREE_FOR_BUILD.bytes);
  const check = (): void => requireFreeSpace(["/large", "/small"], FREE_FOR_BUILD, free);
  expect(check).toThrow(expect.objectContaining({ code: "DISK_FULL" }));
  expect(check).toThrow(/^\/small has 5\.0 GiB free, .* needs 5\.0\. Make room/);
});

it("is content with exactly what is needed", () => {
  expect(() => requireFreeSpace(["/a"], FREE_FOR_CLUSTER, () => FREE_FOR_CLUSTER.bytes)).not.toThrow();
});

it("measures where a folder will be when it is not there yet", () => {
  expect(freeBytes("/proc/self/nowhere/at/all")).toBe(freeBytes("/proc/self"));
  expect(freeBytes("/tmp/not/there/yet")).toBeGreaterThan(0);
});
