import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, it, onTestFinished } from "vitest";
import { checkout } from "./job-folders.ts";
import { scaffoldJob } from "./scaffold.ts";

const LONGEST = "a-worker-with-the-longest-possible-name1";

/** Three tools that take both processors for a while, beside whatever else runs. */
const TIMEOUT_MS = 300_000;

it("what it writes passes `make check` as it is", { timeout: TIMEOUT_MS }, async () => {
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
  const run = async (program: string, ...args: string[]) => {
    const child = spawn(join(copy, "node_modules", ".bin", program), args, { cwd: copy, stdio: ["ignore", "pipe", "pipe"] });
    const ended = Promise.withResolvers<number | null>();
    child.once("error", ended.reject).once("close", ended.resolve);
    const [status, ...output] = await Promise.all([ended.promise, text(child.stdout), text(child.stderr)]);
    if (status !== 0) throw new Error(`${program} ended with ${status}:\n${output.join("")}`);
    return output.join("");
  };
  await run("biome", "check", "--error-on-warnings", "--vcs-enabled=false", "jobs");
  await run("tsc", "--noEmit");
  expect(await run("vitest", "run", "--project", "unit", "jobs")).toMatch(/Test Files.*2 passed/);
});
