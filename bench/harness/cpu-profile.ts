import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import type { Table } from "./report.ts";

/** What `--cpu-prof` writes: a sample is the id of a node of the call tree, and the time since the sample before. */
const cpuProfile = z.object({
  nodes: z.array(
    z.object({
      id: z.number(),
      callFrame: z.object({ functionName: z.string(), url: z.string(), lineNumber: z.number() }),
    }),
  ),
  samples: z.array(z.number()),
  timeDeltas: z.array(z.number()),
});

/** No work of the process: it waits for something to do. */
const IDLE = "(idle)";
/** Less than that tells nobody anything. */
const LEAST_PERCENT = 1;

/** Who had the CPU of each profiled process, by library, as a share of the time in which it was not idle. Profiles are written when a process ends. */
export function profileTable(folder: string): Table | undefined {
  const columns = readdirSync(folder)
    .filter((name) => name.endsWith(".cpuprofile"))
    .map((name) => ({ title: name.split(".")[0] ?? name, shares: sharesOf(join(folder, name)) }));
  if (columns.length === 0) return undefined;
  const most = new Map<string, number>();
  for (const { shares } of columns) {
    for (const [owner, percent] of shares) most.set(owner, Math.max(percent, most.get(owner) ?? 0));
  }
  const owners = [...most].filter(([, percent]) => percent >= LEAST_PERCENT).sort((a, b) => b[1] - a[1]);
  return {
    title: "Own time by library, percent of the time that the process was not idle",
    columns: ["", ...columns.map(({ title }) => title)],
    rows: owners.map(([owner]) => [owner, ...columns.map(({ shares }) => (shares.get(owner) ?? 0).toFixed(1))]),
  };
}

function sharesOf(file: string): Map<string, number> {
  const { nodes, samples, timeDeltas } = cpuProfile.parse(JSON.parse(readFileSync(file, "utf8")));
  const modules = new Map<string, readonly ModuleStart[]>();
  const ownerOf = new Map(
    nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => [id, owner(functionName, url, lineNumber, modules)]),
  );
  const times = new Map<string, number>();
  for (const [index, id] of samples.entries()) {
    const name = ownerOf.get(id) ?? IDLE;
    if (name !== IDLE) times.set(name, (times.get(name) ?? 0) + (timeDeltas[index] ?? 0));
  }
  const total = [...times.values()].reduce((sum, time) => sum + time, 0);
  return new Map([...times].map(([name, time]) => [name, (100 * time) / total]));
}

interface ModuleStart {
  readonly line: number;
  readonly owner: string;
}

function owner(functionName: string, url: string, line: number, modules: Map<string, readonly ModuleStart[]>): string {
  if (url === "") return functionName.startsWith("(") ? functionName : `native: ${functionName}`;
  const builtin = /^node:(?:internal\/)?([^/]+)/.exec(url)?.[1];
  if (builtin !== undefined) return `Node: ${builtin}`;
  if (!url.startsWith("file:")) return url;
  const starts = modules.get(url) ?? moduleStarts(fileURLToPath(url));
  modules.set(url, starts);
  return starts.findLast((start) => start.line <= line)?.owner ?? "the bundle's own";
}

/** esbuild writes the name of each module above it. */
function moduleStarts(file: string): ModuleStart[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .flatMap((text, line) => {
      const path = /^\/\/ ((?:node_modules|libs|services)\/\S+)$/.exec(text)?.[1];
      return path === undefined ? [] : [{ line, owner: library(path) }];
    });
}

function library(path: string): string {
  const inPackage = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1];
  return inPackage ?? path.split("/").slice(0, 2).join("/");
}
