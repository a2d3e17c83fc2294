// All the tests, each kind in a process of its own, and one closing line "N passed, N failed" over all of them.
// Lint and types count as a test each. With --soak the suites see SOAK=1, run their long rounds, and no test has an upper time limit.
// Exit codes: 0 something ran and nothing failed, 1 otherwise, 2 wrong usage.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { closingLines, type SuiteResult } from "./install/closing-lines.ts";
import { readOptions } from "./install/options.ts";

const report = z.object({ numPassedTests: z.number(), numFailedTests: z.number(), success: z.boolean() });

type Count = Pick<SuiteResult, "passed" | "failed">;

const usage = `Usage: node scripts/test-all.ts [--soak]

  --soak  long rounds and many seeds, without time limits (SOAK=1)
`;

const values = readOptions(usage, { soak: { type: "boolean", default: false } });

/** Zero is "no limit" for vitest; what hangs is then for a person to end. */
const noLimits = ["--testTimeout=0", "--hookTimeout=0"];

async function run(title: string, command: string, args: readonly string[]): Promise<number> {
  process.stdout.write(`\n== ${title}\n`);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const env = values.soak ? { ...process.env, SOAK: "1" } : process.env;
  spawn(command, args, { stdio: "inherit", env })
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
      ...(values.soak ? noLimits : []),
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

async function timed(name: string, work: () => Promise<Count>): Promise<SuiteResult> {
  const startedMs = performance.now();
  const count = await work();
  return { name, ...count, seconds: (performance.now() - startedMs) / 1000 };
}

const results = [
  await timed("lint", () => check("lint", "biome", ["check", "--error-on-warnings", "."])),
  await timed("types", () => check("types", "tsc", ["--noEmit"])),
];
for (const project of ["unit", "integration", "chart", "e2e"]) results.push(await timed(project, () => suite(project)));
const { text, ok } = closingLines(results);
process.stdout.write(`\n${text}\n`);
process.exitCode = ok ? 0 : 1;
