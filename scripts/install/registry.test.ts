import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { inspectCommand, pushCommands, pushImage, registryHas, splitRegistry } from "./registry.ts";

const image = { archivePath: "/cache/millrace.tar", reference: "localhost/millrace:abc", contentHash: "1" };

describe("splitRegistry", () => {
  it.each([
    ["a.test/team/x", "a.test", "team/x"],
    ["a.test:5000/x/", "a.test:5000", "x"],
    ["localhost:5000", "localhost:5000", ""],
  ])("%s", (place, registry, path) => {
    expect(splitRegistry(place)).toEqual({ registry, path });
  });

  it.each(["", "https://a.test/x", "a.test/Team", "a.test/x:tag", "a.test//x", "a test/x"])("refuses %j", (place) => {
    expect(() => splitRegistry(place)).toThrow(expect.objectContaining({ code: "OPTION_INVALID" }));
  });
});

describe("pushCommands", () => {
  it("copies with skopeo, over plain HTTP to this machine only", () => {
    expect(pushCommands("skopeo", image, "a.test/x/millrace:abc")).toEqual([
      ["skopeo", "--insecure-policy", "copy", "docker-archive:/cache/millrace.tar", "docker://a.test/x/millrace:abc"],
    ]);
    expect(pushCommands("skopeo", image, "localhost:5000/millrace:abc")[0]).toContain("--dest-tls-verify=false");
    expect(pushCommands("skopeo", image, "localhost.example.test/millrace:abc")[0]).not.toContain("--dest-tls-verify=false");
  });

  it("goes through the store of buildah and of docker, and leaves nothing in buildah's", () => {
    const verbs = (pusher: "buildah" | "docker"): (string | undefined)[] =>
      pushCommands(pusher, image, "a.test/millrace:abc").map((words) =>
        words.find((word, index) => index > 0 && !word.startsWith("--")),
      );
    expect(verbs("buildah")).toEqual(["pull", "push", "rmi"]);
    expect(verbs("docker")).toEqual(["load", "tag", "push"]);
  });
});

describe("pushImage", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "millrace-push-"));
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true });
  });

  it("runs the program that is there and returns the reference to pull by", async () => {
    const program = join(folder, "skopeo");
    writeFileSync(program, `#!/bin/sh\necho "$@" > ${folder}/seen\n`);
    chmodSync(program, 0o755);
    vi.stubEnv("PATH", `${folder}:${process.env["PATH"]}`);
    expect(await pushImage(image, { place: "a.test/x", tag: "abc" })).toBe("a.test/x/millrace:abc");
    expect(readFileSync(join(folder, "seen"), "utf8").trim()).toBe(
      "--insecure-policy copy docker-archive:/cache/millrace.tar docker://a.test/x/millrace:abc",
    );
  });

  it("names a worker's image after the worker", async () => {
    fakeSkopeo("exit 0");
    expect(await pushImage(image, { place: "a.test", name: "image-resize", tag: "abc" })).toBe("a.test/image-resize:abc");
  });

  it("knows what a registry has, and takes what it cannot see for missing", async () => {
    const target = { place: "a.test/x", name: "one", tag: "abc" };
    fakeSkopeo('[ "$1" = inspect ]');
    expect(await registryHas(target)).toBe("a.test/x/one:abc");
    fakeSkopeo("echo manifest unknown >&2; exit 1");
    expect(await registryHas(target)).toBeUndefined();
  });

  function fakeSkopeo(script: string): void {
    const program = join(folder, "skopeo");
    writeFileSync(program, `#!/bin/sh\n${script}\n`);
    chmodSync(program, 0o755);
    vi.stubEnv("PATH", `${folder}:${process.env["PATH"]}`);
  }
});

describe("inspectCommand", () => {
  it.each(["skopeo", "buildah", "docker"] as const)("%s asks the registry, over plain HTTP on this machine only", (pusher) => {
    const plain = pusher === "docker" ? "--insecure" : "--tls-verify=false";
    expect(inspectCommand(pusher, "localhost:5000/one:abc")).toContain(plain);
    const words = inspectCommand(pusher, "a.test/one:abc");
    expect(words).not.toContain(plain);
    expect([words[0], words.at(-1)]).toEqual([pusher, expect.stringContaining("a.test/one:abc")]);
  });
});
