import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { workerConfig } from "../../libs/contract/work-config.ts";
import { checkout } from "./job-folders.ts";
import { scaffoldJob } from "./scaffold.ts";

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
  expect(valuesText().startsWith(`${before}\n  send-invoice:\n    subject:`)).toBe(true);
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
