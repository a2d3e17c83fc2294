import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { parse } from "yaml";
import { KindTarget, kindConfig } from "./kind-target.ts";

let folder: string;

/** Programs that write down what they were asked; `kind get clusters` answers with what is in the file `clusters`. */
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-kind-"));
  for (const name of ["kind", "kubectl", "helm"]) {
    const script = `#!/bin/sh\necho "${name} $@" >> ${folder}/asked\n[ "$2" = clusters ] && cat ${folder}/clusters\n[ "$2" = cluster ] && cat > ${folder}/input\nexit 0\n`;
    writeFileSync(join(folder, name), script);
    chmodSync(join(folder, name), 0o755);
  }
  vi.stubEnv("PATH", `${folder}:${process.env["PATH"]}`);
  vi.stubEnv("XDG_STATE_HOME", join(folder, "state"));
  mkdirSync(join(folder, "state"));
  writeFileSync(join(folder, "clusters"), "other\n");
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

const asked = (): string[] => readFileSync(join(folder, "asked"), "utf8").trim().split("\n");

it("creates a cluster once, of as many nodes as are wished, and loads images as archives", async () => {
  const target = new KindTarget({ name: "millrace", nodes: 2 });
  expect(target.context).toBe("kind-millrace");
  expect(await target.plan()).toMatch(/create.* 2 nodes/);
  await target.up(() => {});
  expect(asked().at(-1)).toBe("kind create cluster --name millrace --config - --wait 180s");
  expect(parse(readFileSync(join(folder, "input"), "utf8")).nodes).toEqual([{ role: "control-plane" }, { role: "worker" }]);

  writeFileSync(join(folder, "clusters"), "other\nmillrace\n");
  expect(await target.plan()).toMatch(/nothing to do/);
  await target.up(() => {});
  expect(asked().filter((line) => line.includes("create cluster"))).toHaveLength(1);
  await target.importImage({ archivePath: "/a.tar", reference: "localhost/a:1", contentHash: "1" }, () => {});
  expect(asked().at(-1)).toBe("kind load image-archive /a.tar --name millrace");
});

it("has one node that takes pods when one is wished", () => {
  expect(parse(kindConfig(1)).nodes).toEqual([{ role: "control-plane" }]);
});
