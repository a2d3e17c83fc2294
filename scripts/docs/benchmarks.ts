import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Goal, reportDir, type SavedReport, savedReport, type Table } from "../../bench/harness/report.ts";

/** Rounds enough to say something; what `--quick` measured is for whoever works on a bench. */
export function savedReports(folder = reportDir): SavedReport[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => savedReport.parse(JSON.parse(readFileSync(join(folder, name), "utf8"))))
    .filter(({ quick }) => !quick)
    .sort((a, b) => order(a.name) - order(b.name) || a.name.localeCompare(b.name));
}

const ORDER = ["dispatch", "latency", "growth", "keda", "scale"];

function order(name: string): number {
  const index = ORDER.indexOf(name);
  return index < 0 ? ORDER.length : index;
}

/** The benches of the page that were not run on this machine: without them it would lose what others measured. */
export function unmeasured(reports: readonly Pick<SavedReport, "name">[]): string[] {
  return ORDER.filter((name) => !reports.some((report) => report.name === name));
}

/** The page of all that was measured on this machine. */
export function benchmarksPage(reports: readonly SavedReport[]): string {
  const goals = reports.flatMap(({ goals: own }) => own);
  return [
    "# Benchmarks",
    "",
    "What `make bench` measured; this page is made of it by `npm run docs`. Each figure compares two things in one run on one machine, in turns, so what",
    "counts is the ratio: absolute figures are those of a small machine that everything shared, what is measured and what measures.",
    "Figures are the median of the rounds, and in brackets the lowest and the highest.",
    "",
    ...goalLines(goals),
    ...reports.flatMap(section),
    "## The machine",
    "",
    ...machineLines(reports),
  ].join("\n");
}

function goalLines(goals: readonly Goal[]): string[] {
  const rows = goals.map(({ what, target, figure, met, note }) => [what, target, figure, verdict(met, note)]);
  return tableLines(["What", "Target", "Measured", ""], rows);
}

function verdict(met: boolean | undefined, note: string | undefined): string {
  const word = met === undefined ? "" : met ? "met" : "**not met**";
  return [word, note ?? ""].filter((text) => text !== "").join(": ");
}

function section({ title, method, tables, rounds, at }: SavedReport): string[] {
  const when = `${rounds} rounds after one of warm-up, ${at.slice(0, 10)}.`;
  return [`## ${title}`, "", ...method.map((line) => `- ${line}`), `- ${when}`, "", ...tables.flatMap(tableSection)];
}

function tableSection({ title, columns, rows }: Table): string[] {
  return [`${title}:`, "", ...tableLines(columns, rows)];
}

function tableLines(columns: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(columns), line(columns.map(() => "---")), ...rows.map(line), ""];
}

/** Of the last run; the disk's latency and the load are measured anew by each bench. */
function machineLines(reports: readonly SavedReport[]): string[] {
  const last = reports.toSorted((a, b) => a.at.localeCompare(b.at)).at(-1);
  return tableLines(["", ""], Object.entries(last?.machine ?? {}));
}
