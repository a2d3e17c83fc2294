import { access, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseLastWords } from "../../../libs/contract/last-words.ts";
import { leaveLastWords } from "./termination-message.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-termination-"));
});
afterAll(() => rm(folder, { recursive: true }));

it("last words are left where the kubelet made room for them, and nowhere else", async () => {
  const made = join(folder, "made");
  await writeFile(made, "");
  leaveLastWords(["WORK.worker-w.1"], made);
  expect(parseLastWords(await readFile(made, "utf8"))).toEqual({ overran: ["WORK.worker-w.1"] });
  const missing = join(folder, "missing");
  leaveLastWords([], missing);
  await expect(access(missing)).rejects.toThrow("ENOENT");
});
