import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { z } from "zod";

/** Where each fault's row lies until docs/faults.md is made of them. */
export const FAULTS_DIR = join(import.meta.dirname, "../../dist/faults");

export const faultRow = z.object({
  /** `<whom it befell>: <what it was>`; one row is kept for each. */
  fault: z.string(),
  /** What was seen to happen then, in a line. */
  what: z.string(),
  /** How many were under way; of a fault that befalls workers, messages. */
  jobs: z.number(),
  lost: z.number(),
  doubled: z.number(),
  /**
   * From the end of the fault, or from its begin when nobody waits for its end, until each of those that were under way has been created or its
   * end is recorded. Null: not all of them. Absent: there is nothing to heal.
   */
  healMs: z.number().nullable().optional(),
  /** Of the long rounds. */
  soak: z.boolean(),
  machine: z.string(),
});

export type FaultRow = z.infer<typeof faultRow>;

/** What a suite of faults leaves behind for the documents. */
export const FaultReport = {
  row(row: Omit<FaultRow, "soak" | "machine">): void {
    const [cpu] = cpus();
    const machine = `${cpus().length} × ${cpu?.model ?? "CPU"}, ${Math.round(totalmem() / 2 ** 30)} GiB`;
    // A figure that is none would be read as "did not heal".
    const whole = faultRow.parse({ ...row, soak: process.env["SOAK"] === "1", machine } satisfies FaultRow);
    mkdirSync(FAULTS_DIR, { recursive: true });
    writeFileSync(join(FAULTS_DIR, `${slug(row.fault)}.json`), `${JSON.stringify(whole, null, 2)}\n`);
  },
};

/** What the oracle found (`Jobs.violations`), by job: gone or never ended, or done more often than once. */
export function tally(violations: readonly unknown[]): Pick<FaultRow, "lost" | "doubled"> {
  const lost = new Set<string>();
  const doubled = new Set<string>();
  for (const found of violations) {
    const violation = oracleViolation.safeParse(found);
    // The other kind is one Job name with all the Jobs that had it.
    if (!violation.success) doubled.add(JSON.stringify(found));
    else (isLoss(violation.data) ? lost : doubled).add(violation.data.hash);
  }
  return { lost: lost.size, doubled: doubled.size };
}

const oracleViolation = z.object({ rule: z.string(), hash: z.string(), detail: z.string() });

/** I7 asks for exactly one end: none is a loss, too. */
function isLoss({ rule, detail }: z.infer<typeof oracleViolation>): boolean {
  return LOSSES.has(rule) || (rule === "I7" && detail.endsWith("has 0 terminal events"));
}

const LOSSES: ReadonlySet<string> = new Set(["I3", "I4", "rest"]);

function slug(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
}
