import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { checkout } from "./job-folders.ts";
import { scaffoldJob } from "./scaffold.ts";

const LONGEST = "a-worker-with-the-longest-possible-name1";

it("what it writes passes `make check` as it is", () => {
  const copy = mkdtempSync(join(tmpdir(), "millrace-scaffold-"));
  onTestFinished(() => rmSync(copy, { recursive: true }));
  mkdirSync(join(copy, "jobs"));
  cpSync(join(checkout, "jobs", "values.yaml"), join(copy, "jobs", "values.yaml"));
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
