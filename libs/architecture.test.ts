import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..");

/** What each room may import of the others (design §3). Tests, and what only tests use, may import more. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "libs/contract": ["libs/contract"],
  "libs/runtime": ["libs/runtime", "libs/contract"],
  "libs/kube": ["libs/kube", "libs/runtime", "libs/contract"],
  "libs/streams": ["libs/streams", "libs/runtime", "libs/contract"],
  services: ["services", "libs"],
  cli: ["cli", "libs"],
  sdk: ["sdk", "libs/contract", "libs/streams", "libs/runtime"],
  synth: ["synth", "libs/contract", "libs/runtime"],
};

const PACKAGES_OF_CONTRACT = ["zod", "ajv"];

interface Import {
  readonly file: string;
  readonly target: string;
}

function importsOf(room: string): Import[] {
  return readdirSync(join(root, room), { recursive: true, encoding: "utf8" })
    .filter(
      (file) =>
        file.endsWith(".ts") && !file.endsWith(".test.ts") && !file.includes("testing/") && !file.includes("node_modules"),
    )
    .flatMap((file) => {
      const path = join(root, room, file);
      const sources = [...readFileSync(path, "utf8").matchAll(/\bfrom "([^"]+)"/g)].map(([, target = ""]) => target);
      return sources.map((target) => ({
        file: join(room, file),
        target: target.startsWith(".") ? relative(root, join(dirname(path), target)) : target,
      }));
    });
}

const isLocal = (target: string): boolean => /^(?:libs|services|cli|synth|scripts|e2e)\//.test(target);
const inRoom = (target: string, room: string): boolean => target.startsWith(`${room}/`);

describe("the rooms import only what they may", () => {
  it.each(Object.entries(MAY_IMPORT))("%s", (room, allowed) => {
    const imports = importsOf(room);
    expect(imports.length).toBeGreaterThan(0);
    const wrong = imports.filter(({ target }) => isLocal(target) && !allowed.some((name) => inRoom(target, name)));
    expect(wrong).toEqual([]);
  });

  it("libs/contract is pure: zod, ajv and the hash of node:crypto are all it takes from outside", () => {
    const outside = importsOf("libs/contract").filter(({ target }) => !isLocal(target));
    expect(new Set(outside.map(({ target }) => target))).toEqual(new Set([...PACKAGES_OF_CONTRACT, "node:crypto"]));
  });

  it("services take types only from the generated Kubernetes client: importing it costs 75 MB", () => {
    const files = [...importsOf("services"), ...importsOf("libs")].filter(({ target }) => target === "@kubernetes/client-node");
    for (const { file } of files) {
      expect(readFileSync(join(root, file), "utf8"), file).toMatch(/import type \{[^}]*\} from "@kubernetes\/client-node"/);
    }
    expect(files.length).toBeGreaterThan(0);
  });
});
