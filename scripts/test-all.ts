// All the tests, each kind in a process of its own, and one closing line "N passed, N failed" over all of them.
// Lint, types and the cluster of the end-to-end tests count as a test each. With --soak the suites see SOAK=1, run their long rounds, and no test has an upper time limit.
// Exit codes: 0 something ran and nothing failed, 1 otherwise, 2 wrong usage.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import setUpCluster from "../e2e/global-setup.ts";
import { errorText } from "../libs/contract/errors.ts";
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

/**
 * Most end-to-end tests wait, and those that look at the shared installation do not mind what is done to other releases. What disturbs all of
 * them comes when nothing else runs.
 */
const E2E_PHASES = [["e2e", "e2e-releases", "e2e-workers"], ["e2e-faults"]] as const;

let isInterrupted = false;
// What runs is interrupted by the terminal itself; the cluster is still to be removed.
process.once("SIGINT", () => {
  isInterrupted = true;
});

interface Command {
  readonly title: string;
  readonly program: string;
  readonly args: readonly string[];
  /** Before each line of what runs beside something else. */
  readonly prefix?: string;
}

async function run({ title, program, args, prefix }: Command): Promise<number> {
  process.stdout.write(`\n== ${title}\n`);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const env = values.soak ? { ...process.env, SOAK: "1" } : process.env;
  const output = prefix === undefined ? "inherit" : "pipe";
  const child = spawn(program, args, { stdio: ["inherit", output, output], env })
    .once("error", reject)
    .once("close", (code) => resolve(code ?? 1));
  for (const stream of [child.stdout, child.stderr]) {
    if (stream !== null) createInterface({ input: stream }).on("line", (line) => process.stdout.write(`${prefix}${line}\n`));
  }
  return promise;
}

async function check(title: string, program: string, args: readonly string[]): Promise<Count> {
  return (await run({ title, program, args })) === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** A suite that breaks before its tests are collected counts as one failure: nothing may vanish from the sum. */
async function suite(project: string, prefix?: string): Promise<Count> {
  if (isInterrupted) return { passed: 0, failed: 1 };
  const folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
  const file = join(folder, "report.json");
  try {
    const reporters = ["--reporter=default", "--reporter=json", `--outputFile=${file}`];
    const code = await run({
      title: `${project} tests`,
      program: "vitest",
      args: ["run", "--project", project, ...reporters, ...(values.soak ? noLimits : [])],
      ...(prefix === undefined ? {} : { prefix }),
    });
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

/** One cluster for all projects; what is told of it at the end are its logs, in dist/e2e-logs. */
async function endToEnd(): Promise<SuiteResult[]> {
  let tearDown: (() => Promise<void>) | undefined;
  const cluster = await timed("cluster", async () => {
    process.stdout.write("\n== the cluster of the end-to-end tests\n");
    try {
      tearDown = await setUpCluster();
      return { passed: 1, failed: 0 };
    } catch (error) {
      process.stderr.write(`${errorText(error)}\n`);
      return { passed: 0, failed: 1 };
    }
  });
  if (tearDown === undefined) return [cluster];
  const found = [cluster];
  try {
    for (const phase of E2E_PHASES) {
      const isAlone = phase.length === 1;
      const width = Math.max(...phase.map((name) => name.length));
      const prefixOf = (name: string): string | undefined => (isAlone ? undefined : `${name.padEnd(width)} | `);
      found.push(...(await Promise.all(phase.map((name) => timed(name, () => suite(name, prefixOf(name)))))));
    }
  } finally {
    await tearDown();
  }
  return found;
}

const startedMs = performance.now();
const results = [
  await timed("lint", () => check("lint", "biome", ["check", "--error-on-warnings", "."])),
  await timed("types", () => check("types", "tsc", ["--noEmit"])),
];
for (const project of ["unit", "integration", "chart"]) results.push(await timed(project, () => suite(project)));
results.push(...(await endToEnd()));
const { text, ok } = closingLines(results, (performance.now() - startedMs) / 1000);
process.stdout.write(`\n${text}\n`);
process.exitCode = ok ? 0 : 1;
