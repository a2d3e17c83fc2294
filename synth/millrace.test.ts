import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { writeChart } from "./helm/chart-files.ts";
import { millrace } from "./millrace.ts";

const COMMITTED = fileURLToPath(new URL("../charts/millrace", import.meta.url));

async function contents(folder: string): Promise<{ [path: string]: string }> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const pairs = paths.map(async (path) => [path.slice(folder.length + 1), await readFile(path, "utf8")] as const);
  return Object.fromEntries(await Promise.all(pairs));
}

it("the committed chart is what the source says (otherwise: npm run chart)", async () => {
  const folder = await mkdtemp(join(tmpdir(), "millrace-chart-"));
  try {
    await writeChart(folder, millrace());
    expect(await contents(COMMITTED)).toEqual(await contents(folder));
  } finally {
    await rm(folder, { recursive: true });
  }
});

it("the kit and its page know nothing of this chart", async () => {
  const kit = await contents(fileURLToPath(new URL("helm", import.meta.url)));
  const page = await readFile(new URL("../docs/chart-kit.md", import.meta.url), "utf8");
  const talkative = Object.entries({ ...kit, "docs/chart-kit.md": page }).filter(([, text]) => /millrace|jetstream/iu.test(text));
  expect(talkative.map(([path]) => path)).toEqual([]);
});
