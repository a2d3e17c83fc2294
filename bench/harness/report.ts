import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { machineFacts } from "./machine.ts";

export const reportDir = join(import.meta.dirname, "../../dist/bench");

/** One line of the design's targets. `met: undefined`: measured for information, without a target. */
const goal = z.object({
  what: z.string(),
  target: z.string(),
  figure: z.string(),
  met: z.boolean().optional(),
  /** Why it is not met, or how to read the figure. */
  note: z.string().optional(),
});

const table = z.object({ title: z.string(), columns: z.array(z.string()), rows: z.array(z.array(z.string())) });

/** What a bench found out, in Markdown words, so that one writer makes the page of all of them. */
export const report = z.object({
  name: z.string(),
  title: z.string(),
  /** What was done, against what, so that a reader can judge the figures. */
  method: z.array(z.string()),
  goals: z.array(goal),
  tables: z.array(table),
});

export type Report = z.infer<typeof report>;
export type Goal = z.infer<typeof goal>;
export type Table = z.infer<typeof table>;

export const savedReport = report.extend({
  machine: z.record(z.string(), z.string()),
  rounds: z.number(),
  quick: z.boolean(),
  at: z.string(),
});

export type SavedReport = z.infer<typeof savedReport>;

export function saveReport(
  found: Report,
  run: { readonly rounds: number; readonly quick: boolean; readonly disk: string },
): void {
  mkdirSync(reportDir, { recursive: true });
  const saved: SavedReport = {
    ...found,
    machine: machineFacts(run.disk),
    rounds: run.rounds,
    quick: run.quick,
    at: new Date().toISOString(),
  };
  writeFileSync(join(reportDir, `${found.name}.json`), `${JSON.stringify(saved, null, 2)}\n`);
}

/** For the terminal. */
export function reportText({ title, goals, tables }: Report): string {
  const verdict = (met: boolean | undefined): string => (met === undefined ? "" : met ? "  met" : "  NOT MET");
  const lines = goals.map(({ what, figure, target, met }) => `  ${what}: ${figure} (target ${target})${verdict(met)}`);
  const texts = tables.map(({ title: name, columns, rows }) =>
    [`  ${name}`, ...[columns, ...rows].map((cells) => `    ${cells.map((cell) => cell.padEnd(22)).join("")}`)].join("\n"),
  );
  return [title, ...lines, ...texts].join("\n");
}
