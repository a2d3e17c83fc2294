import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { command } from "./command.ts";
import { buildImage, type ImageSpec, splitReference } from "./image-archive.ts";
import { parseLdd } from "./images.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-image-"));
  vi.stubEnv("XDG_CACHE_HOME", join(folder, "cache"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

function specOf(checkout: string, content: string): ImageSpec {
  const bundle = join(folder, checkout);
  mkdirSync(bundle, { recursive: true });
  writeFileSync(join(bundle, "main.js"), content);
  return {
    reference: "localhost/thing:1",
    layers: [[{ kind: "folder", path: "tmp", mode: 0o1777 }], [{ kind: "tree", path: "app", source: bundle }]],
    entrypoint: ["/app/main.js"],
    user: "65532:65532",
    environment: { PATH: "/bin" },
    workingDir: "/app",
  };
}

describe("buildImage", () => {
  it("names the archive by what is inside, wherever the checkout lies", async () => {
    const one = await buildImage(specOf("one", "same"));
    const two = await buildImage(specOf("two", "same"));
    const changed = await buildImage(specOf("two", "different"));
    expect(two).toEqual(one);
    expect(changed.contentHash).not.toBe(one.contentHash);
    expect(changed.archivePath).not.toBe(one.archivePath);
  });

  it("makes the same bytes again after the cache is emptied", async () => {
    const { archivePath } = await buildImage(specOf("one", "same"));
    const before = readFileSync(archivePath);
    rmSync(archivePath);
    await buildImage(specOf("one", "same"));
    expect(readFileSync(archivePath).equals(before)).toBe(true);
  });

  it("keeps /tmp open to all and the bundle readable, whatever the builder's umask", async () => {
    const umask = process.umask(0o077);
    try {
      const { archivePath } = await buildImage(specOf("one", "private"));
      const unpacked = join(folder, "unpacked");
      mkdirSync(unpacked);
      await command("tar", ["--extract", `--file=${archivePath}`, `--directory=${unpacked}`]);
      const list = await command("tar", ["--list", "--verbose", "--numeric-owner", `--file=${join(unpacked, "layer-0.tar")}`]);
      expect(list).toMatch(/^drwxrwxrwt 0\/0 .* \.\/tmp\/$/m);
      const bundle = await command("tar", ["--list", "--verbose", "--numeric-owner", `--file=${join(unpacked, "layer-1.tar")}`]);
      expect(bundle).toMatch(/^drwxr-xr-x 0\/0 .* \.\/app\/$/m);
      expect(bundle).toMatch(/^-rw-r--r-- 0\/0 .* \.\/app\/main\.js$/m);
    } finally {
      process.umask(umask);
    }
  });

  it("says which input is missing", async () => {
    const spec = {
      ...specOf("one", ""),
      layers: [[{ kind: "tree", path: "app", source: join(folder, "nowhere") }]],
    } satisfies ImageSpec;
    await expect(buildImage(spec)).rejects.toMatchObject({ code: "IMAGE_INPUT_MISSING" });
  });
});

it("splits a reference at its tag, not at a registry's port", () => {
  expect(splitReference("localhost:5000/a/b:1.2")).toEqual({ repository: "localhost:5000/a/b", tag: "1.2" });
  expect(() => splitReference("localhost:5000/a/b")).toThrow(/tag/);
});

it("finds the libraries in ldd's answer, the loader among them", () => {
  const output = `\tlinux-vdso.so.1 (0x00007f42)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f42)
\tlibmissing.so => not found
\t/lib64/ld-linux-x86-64.so.2 (0x00007f42)
`;
  expect(parseLdd(output)).toEqual(["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
});
