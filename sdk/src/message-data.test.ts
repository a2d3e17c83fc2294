import { describe, expect, it } from "vitest";
import { z } from "zod";
import { openData } from "./message-data.ts";
import type { StandardSchema } from "./standard-schema.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const json = { body: "json", schema: undefined } as const;

describe("what a handler is given", () => {
  it("is any JSON without a schema", async () => {
    expect(await openData(json, bytes('{"a":[1]}'))).toEqual({ kind: "ok", data: { a: [1] } });
    expect(await openData(json, bytes("null"))).toEqual({ kind: "ok", data: null });
  });

  it("is what the schema makes of it, also when that takes time", async () => {
    const schema = z.object({ n: z.number() }).transform(async ({ n }) => n + 1);
    expect(await openData({ body: "json", schema }, bytes('{"n":1}'))).toEqual({ kind: "ok", data: 2 });
  });

  it("is plain bytes for those who want them", async () => {
    const pool = Buffer.from("_no json_");
    const opened = await openData({ body: "bytes", schema: undefined }, pool.subarray(1, 8));
    expect(opened).toEqual({ kind: "ok", data: bytes("no json") });
  });
});

describe("K2: a body that can never be handled", () => {
  const refusing = (
    issues: readonly { message: string; path?: readonly (PropertyKey | { key: PropertyKey })[] }[],
  ): StandardSchema => ({
    "~standard": { version: 1, vendor: "test", validate: () => ({ issues }) },
  });

  it.each<[string, StandardSchema, string]>([
    ["where", refusing([{ message: "is no URL", path: ["images", 2, { key: "url" }] }]), "images[2].url: is no URL"],
    ["the whole", refusing([{ message: "must be an object" }]), "the body: must be an object"],
    ["how many", refusing([{ message: "one" }, { message: "two" }]), "the body: one (and 1 more)"],
    ["one line", refusing([{ message: "first\nsecond" }]), "the body: first"],
    ["no issue", refusing([]), "the schema refused the body"],
  ])("says %s", async (_what, schema, reason) => {
    expect(await openData({ body: "json", schema }, bytes("1"))).toEqual({ kind: "invalid", reason });
  });

  it("is not quoted", async () => {
    const opened = await openData({ body: "json", schema: z.object({ n: z.number() }) }, bytes('{"n":"secret"}'));
    expect(opened).toMatchObject({ kind: "invalid" });
    expect(JSON.stringify(opened)).not.toContain("secret");
  });
});
