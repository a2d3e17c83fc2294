import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { workerConfig } from "../../libs/contract/work-config.ts";
import { checkout } from "./job-folders.ts";
import { scaffoldJob } from "./scaffold.ts";

const LONGEST = "a-worker-with-the-longest-possible-name1";

/** A copy of as much of the checkout as a scaffolded worker is checked with. */
let copy: string;

beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), "millrace-scaffold-"));
  mkdirSync(join(copy, "jobs"));
  cpSync(join(checkout, "jobs", "values.yaml"), join(copy, "jobs", "values.yaml"));
});
afterEach(() => rmSync(copy, { recursive: true }));

const valuesText = (): string => readFileSync(join(copy, "jobs", "values.yaml"), "utf8");

it("adds an entry that the services take, and leaves all others and their comments as they are", () => {
  const before = valuesText();
  expect(scaffoldJob("send-invoice", copy)).toEqual([
    "jobs/send-invoice/main.ts",
    "jobs/send-invoice/send-invoice.ts",
    "jobs/send-invoice/send-invoice.test.ts",
    "jobs/values.yaml",
  ]);
  expect(valuesText().startsWith(before)).toBe(true);
  const { workers } = parse(valuesText());
  expect(Object.keys(workers)).toEqual([...Object.keys(parse(before).workers), "send-invoice"]);
  expect(workerConfig.parse(workers["send-invoice"])).toMatchObject({ subject: "send-invoice", retry: { attempts: 3 } });
});

it("takes a first worker, too", () => {
  writeFileSync(join(copy, "jobs", "values.yaml"), "workers: {}\n");
  scaffoldJob("first", copy);
  expect(Object.keys(parse(valuesText()).workers)).toEqual(["first"]);
});

describe("refuses, and writes nothing", () => {
  it.each([
    "",
    "My-Job",
    "my_job",
    "-a",
    "a-",
    "a b",
    "../a",
    "a/b",
    "a.b",
    "ä",
    "x".repeat(41),
    "dlq",
    "jobs",
    "work",
    "millrace",
    "nats",
  ])("the name %j", (name) => {
    const before = valuesText();
    expect(() => scaffoldJob(name, copy)).toThrow(expect.objectContaining({ code: "OPTION_INVALID" }));
    expect(valuesText()).toBe(before);
  });

  it("a folder that exists, and a worker that has an entry", () => {
    mkdirSync(join(copy, "jobs", "image-store"));
    expect(() => scaffoldJob("image-store", copy)).toThrow(/exists already/);
    expect(() => scaffoldJob("image-resize", copy)).toThrow(/has a worker image-resize already/);
    expect(existsSync(join(copy, "jobs", "image-resize"))).toBe(false);
  });
});

it("what it writes passes `make check` as it is", () => {
  for (const name of ["3d", LONGEST]) scaffoldJob(name, copy);
  symlinkSync(realpathSync(join(checkout, "node_modules")), join(copy, "node_modules"));
  mkdirSync(join(copy, "e2e"));
  for (const file of ["biome.json", "tsconfig.json", "package.json", "vitest.config.ts", "e2e/file-order.ts"]) {
    cpSync(join(checkout, file), join(copy, file));
  }
  const run = (program: string, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(join(copy, "node_modules", ".bin", program), args, {
      cwd: copy,
      encoding: "utf8",
    });
    return { status, output: stdout + stderr };
  };
  expect(run("biome", "check", "--error-on-warnings", "--vcs-enabled=false", "jobs")).toEqual({
    status: 0,
    output: expect.stringContaining("Checked 6 files"),
  });
  expect(run("tsc", "--noEmit")).toEqual({ status: 0, output: "" });
  expect(run("vitest", "run", "--project", "unit", "jobs")).toEqual({
    status: 0,
    output: expect.stringMatching(/Tests.*4 passed/),
  });
});
