// All the tests, each kind in a process of its own, and one closing line "N passed, N failed" over all of them.
// Lint and types count as a test each. Exit code: 0 only when something ran and nothing failed.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";

const report = z.object({ numPassedTests: z.number(), numFailedTests: z.number(), success: z.boolean() });

interface Count {
  readonly passed: number;
  readonly failed: number;
}

async function run(title: string, command: string, args: readonly string[]): Promise<number> {
  process.stdout.write(`\n== ${title}\n`);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  spawn(command, args, { stdio: "inherit" })
    .once("error", reject)
    .once("exit", (code) => resolve(code ?? 1));
  return promise;
}

async function check(title: string, command: string, args: readonly string[]): Promise<Count> {
  return (await run(title, command, args)) === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** A suite that breaks before its tests are collected counts as one failure: nothing may vanish from the sum. */
async function suite(project: string): Promise<Count> {
  const folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
  const file = join(folder, "report.json");
  try {
    const code = await run(`${project} tests`, "vitest", [
      "run",
      "--project",
      project,
      "--reporter=default",
      "--reporter=json",
      `--outputFile=${file}`,
    ]);
    const parsed = report.safeParse(JSON.parse(await readFile(file, "utf8").catch(() => "null")));
    if (!parsed.success) return { passed: 0, failed: 1 };
    const { numPassedTests, numFailedTests, success } = parsed.data;
    const broken = numFailedTests === 0 && (code !== 0 || !success) ? 1 : 0;
    return { passed: numPassedTests, failed: numFailedTests + broken };
  } finally {
    await rm(folder, { recursive: true });
  }
}

const counts = [
  await check("lint", "biome", ["check", "--error-on-warnings", "."]),
  await check("types", "tsc", ["--noEmit"]),
  await suite("unit"),
  await suite("integration"),
  await suite("chart"),
  await suite("e2e"),
];
const passed = counts.reduce((sum, count) => sum + count.passed, 0);
const failed = counts.reduce((sum, count) => sum + count.failed, 0);
process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
