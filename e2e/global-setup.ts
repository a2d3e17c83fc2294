import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalCluster } from "../scripts/cluster/cluster.ts";
import { testProfile } from "../scripts/install/profile.ts";
import { installSteps } from "../scripts/install/steps.ts";

const KEPT_LOGS = join(import.meta.dirname, "..", "dist", "e2e-logs");
/** Set while the cluster is there, for this process and those that it starts: one of them set it up and will remove it. */
const IS_UP = "MILLRACE_E2E_IS_UP";

/**
 * Installs the chart on the tests' own cluster, from nothing, and removes it at the end. An earlier run may have been cut off anywhere: its
 * remains are removed first. The user's kubeconfig is not touched. `KEEP_E2E_CLUSTER=1` leaves the cluster running, to look at it.
 * Run once for all projects: by `scripts/test-all.ts`, or by vitest for the first one when it is started by hand.
 */
export default async function setup(): Promise<() => Promise<void>> {
  if (process.env[IS_UP] !== undefined) return async () => {};
  const folder = mkdtempSync(join(tmpdir(), "millrace-e2e-"));
  process.env["KUBECONFIG"] = join(folder, "kubeconfig");
  const progress = (line: string): void => void process.stderr.write(`${line}\n`);
  const cluster = new LocalCluster({ name: testProfile.cluster, progress });
  await cluster.down();
  for (const { title, run } of installSteps(testProfile)) {
    progress(`e2e: ${title}`);
    await run(progress);
  }
  process.env[IS_UP] = "1";
  return async () => {
    rmSync(KEPT_LOGS, { recursive: true, force: true });
    cpSync(cluster.logDir, KEPT_LOGS, { recursive: true, dereference: false });
    if (process.env["KEEP_E2E_CLUSTER"] === undefined) await cluster.down();
    rmSync(folder, { recursive: true });
    delete process.env[IS_UP];
  };
}
