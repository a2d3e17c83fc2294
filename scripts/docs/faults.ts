import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { FAULTS_DIR, type FaultRow, faultRow } from "../../e2e/harness/fault-report.ts";

/** The rows that the last runs of the fault suite on this machine left; none when it never ran here. */
export function recordedFaults(folder = FAULTS_DIR): FaultRow[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith(".json"))
    .sort()
    .map((file) => faultRow.parse(JSON.parse(readFileSync(join(folder, file), "utf8"))));
}

/** docs/faults.md: what was done to a running installation under load, and what came of it. */
export function faultsPage(rows: readonly FaultRow[]): string {
  const lines = rows.map(({ fault, what, jobs, lost, doubled, healMs, soak }) => {
    const cells = [fault, what, soak ? `${jobs}, long round` : jobs, lost, doubled, healed(healMs)];
    return `| ${cells.map((cell) => String(cell).replaceAll("|", "\\|")).join(" | ")} |`;
  });
  return `# Faults

What was done to a running installation under load, and what came of it: measured by the suites in \`e2e\` on the local cluster, and written by \`npm run docs\`.

- **lost** and **doubled** are the oracle's (\`services/testing/oracle.ts\`): it reads the streams and every Job that ever was, not what the services say. Of workers, what the store holds: images that are missing; objects, or ends (an object and a dead letter), too many.
- **under way** are jobs, or the messages of workers.
- **time to heal** is from the end of the fault, or from its begin when nobody waits for its end, until the last of those that were under way has been created or its end is recorded: what was left of their own run is in it. \`–\`: there was nothing to heal.

| fault | what happened | under way | lost | doubled | time to heal |
|---|---|---|---|---|---|
${lines.join("\n")}

${machines(rows)}
`;
}

function healed(ms: FaultRow["healMs"]): string {
  if (ms === undefined) return "–";
  return ms === null ? "did not heal" : `${(ms / 1000).toFixed(1)} s`;
}

/** Who ran which kind of rounds. */
function machines(rows: readonly FaultRow[]): string {
  const runs = rows.map(
    ({ machine, soak }) => `${soak ? "The long rounds (`make soak`)" : "The short rounds (`make test`)"} on ${machine}`,
  );
  return `${[...new Set(runs)].join(". ")}, with everything on it: control plane, nodes, NATS, Millrace and the pods.`;
}
