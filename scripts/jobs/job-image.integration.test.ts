import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { buildAll } from "./all-images.ts";
import { checkout, jobNames } from "./job-folders.ts";
import { buildJobImage, jobTag } from "./job-image.ts";

/** A checkout with workers of its own. */
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "millrace-jobs-"));
  for (const part of ["node_modules", "sdk", "libs"]) symlinkSync(realpathSync(join(checkout, part)), join(root, part));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

function write(file: string, text: string): void {
  mkdirSync(join(root, "jobs", file, ".."), { recursive: true });
  writeFileSync(join(root, "jobs", file), text);
}

describe("which folders are workers", () => {
  it("those with a main.ts, in the order of their names", () => {
    for (const file of ["b/main.ts", "a/main.ts", "shared/thing.ts", "Not-A-Name/main.ts"]) write(file, "");
    writeFileSync(join(root, "jobs", "values.yaml"), "");
    expect(jobNames(root)).toEqual(["a", "b"]);
  });

  it("none where there is no folder", () => {
    expect(jobNames(root)).toEqual([]);
  });
});

describe("a worker's tag", () => {
  it("is that of its content: another worker's change leaves it alone, and a change of what it shares does not", async () => {
    write("one/main.ts", 'import { shared } from "../shared/thing.ts";\nconsole.log(shared);\n');
    write("two/main.ts", "console.log(2);\n");
    write("shared/thing.ts", "export const shared = 1;\n");
    const before = [await jobTag("one", root), await jobTag("two", root)];
    expect(before[0]).toMatch(/^[0-9a-f]{12}$/);
    write("two/main.ts", "console.log(3);\n");
    write("one/one.test.ts", "not in the image");
    expect(await jobTag("one", root)).toBe(before[0]);
    expect(await jobTag("two", root)).not.toBe(before[1]);
    write("shared/thing.ts", "export const shared = 2;\n");
    expect(await jobTag("one", root)).not.toBe(before[0]);
  });
});

describe("a worker's image", () => {
  it("has the worker, the thread that keeps its leases, and packages with native parts, and runs by itself", async () => {
    vi.stubEnv("XDG_CACHE_HOME", join(root, "cache"));
    write(
      "small/main.ts",
      `import sharp from "sharp";
const { info } = await sharp({ create: { width: 300, height: 300, channels: 3, background: "red" } }).resize(20).webp().toBuffer({ resolveWithObject: true });
console.log(info.format, info.width);
`,
    );
    const image = await buildJobImage("small", root);
    expect(image.reference).toBe(`localhost/small:${await jobTag("small", root)}`);
    const bundle = join(root, "dist", "jobs", "small");
    expect(readdirSync(bundle).sort()).toEqual(["heartbeat-thread.js", "main.js", "node_modules"]);
    // Where no other node_modules is above it.
    const alone = mkdtempSync(join(tmpdir(), "millrace-bundle-"));
    onTestFinished(() => rmSync(alone, { recursive: true }));
    cpSync(bundle, alone, { recursive: true });
    expect(spawnSync(process.execPath, [join(alone, "main.js")], { encoding: "utf8" })).toMatchObject({
      status: 0,
      stdout: "webp 20\n",
    });
  });

  it("is not built again as long as the content is the same", async () => {
    vi.stubEnv("XDG_CACHE_HOME", join(root, "cache"));
    const build = async () => {
      const [image] = await buildAll({ jobs: ["one"], before: {}, build: (job) => buildJobImage(job, root), progress: () => {} });
      return { tag: image?.tag, file: statSync(image?.archivePath ?? "").ino };
    };
    write("one/main.ts", "console.log(1);\n");
    const first = await build();
    expect(await build()).toEqual(first);
    write("one/main.ts", "console.log(2);\n");
    expect((await build()).tag).not.toBe(first.tag);
  });

  it("has no packages that it does not import", async () => {
    vi.stubEnv("XDG_CACHE_HOME", join(root, "cache"));
    write("plain/main.ts", "console.log(1);\n");
    await buildJobImage("plain", root);
    expect(readdirSync(join(root, "dist", "jobs", "plain")).sort()).toEqual(["heartbeat-thread.js", "main.js"]);
  });
});
