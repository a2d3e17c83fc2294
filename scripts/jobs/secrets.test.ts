import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readImageSecret } from "./image-secret.ts";
import { checkout } from "./job-folders.ts";

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-secrets-"));
  file = join(folder, "env");
});
afterEach(() => rmSync(folder, { recursive: true }));

const complete = ["R2_ACCOUNT_ID=acc", "R2_ACCESS_KEY_ID=the-key", "R2_SECRET_ACCESS_KEY='hush hush#'", "R2_BUCKET=photos"];

describe("jobs/.env", () => {
  const read = (...lines: string[]) => {
    writeFileSync(file, lines.join("\n"));
    return readImageSecret(file, "template");
  };

  it("gives what is set, quotes and comments aside", () => {
    expect(read("# a comment", ...complete, "S3_ENDPOINT=")).toEqual({
      R2_ACCOUNT_ID: "acc",
      R2_ACCESS_KEY_ID: "the-key",
      R2_SECRET_ACCESS_KEY: "hush hush#",
      R2_BUCKET: "photos",
    });
  });

  it("that is only the template lacks everything, by name", () => {
    const template = readFileSync(join(checkout, "jobs", ".env.template"), "utf8");
    expect(() => read(template)).toThrow(/R2_BUCKET.*is missing/s);
    expect(() => read(template)).not.toThrow(/_FILE/);
    expect(() => read(template, "R2_BUCKET=b")).toThrow(
      /R2_ACCOUNT_ID: is missing.*R2_ACCESS_KEY_ID: is missing.*R2_SECRET_ACCESS_KEY: is missing/s,
    );
  });

  it("with a key that no job reads is refused, and its value is not shown", () => {
    expect(() => read(...complete, "R2_SECRET_KEY=hush")).toThrow(/R2_SECRET_KEY is none of/);
    expect(() => read(...complete, "R2_SECRET_KEY=hush")).not.toThrow(/hush/);
  });

  it("that does not exist is made from the template", () => {
    expect(() => readImageSecret(file, "jobs/.env.template")).toThrow(`cp jobs/.env.template ${file}`);
  });
});

describe("make secrets", () => {
  it("hands the values to kubectl over stdin alone, and prints none", () => {
    const kubectl = join(folder, "kubectl");
    writeFileSync(kubectl, `#!/bin/sh\necho "$@" > ${folder}/argv\ncat > ${folder}/stdin\n`);
    chmodSync(kubectl, 0o755);
    writeFileSync(file, complete.join("\n"));
    const args = [join(checkout, "scripts/jobs/secrets.ts"), "--context", "here", "--namespace", "ns", "--env-file", file];
    const env = { ...process.env, PATH: `${folder}:${process.env["PATH"]}`, XDG_STATE_HOME: folder, HOME: folder };
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { env, encoding: "utf8" });
    expect([status, stderr]).toEqual([0, expect.stringContaining("Secret ns/image-jobs has R2_ACCESS_KEY_ID, R2_ACCOUNT_ID")]);
    expect(JSON.parse(readFileSync(join(folder, "stdin"), "utf8"))).toMatchObject({
      kind: "Secret",
      metadata: { name: "image-jobs", namespace: "ns" },
      stringData: { R2_SECRET_ACCESS_KEY: "hush hush#" },
    });
    const argv = readFileSync(join(folder, "argv"), "utf8");
    expect(argv).toContain("--context here apply --server-side");
    expect(argv + stdout + stderr).not.toMatch(/hush|the-key/);
  });

  it("touches no cluster when a key is missing", () => {
    writeFileSync(file, "R2_BUCKET=b");
    const args = [join(checkout, "scripts/jobs/secrets.ts"), "--context", "here", "--env-file", file];
    const { status, stderr } = spawnSync(process.execPath, args, {
      env: { ...process.env, XDG_STATE_HOME: folder },
      encoding: "utf8",
    });
    expect(status).toBe(1);
    expect(stderr).toMatch(/R2_SECRET_ACCESS_KEY: is missing/);
    expect(existsSync(join(folder, "argv"))).toBe(false);
  });
});
