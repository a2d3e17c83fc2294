import { WORKERS, WorkersRelease } from "./workers-release.ts";

/** After the cluster is there: what only these tests need. It stays with a cluster that is kept. */
export default async function setup(): Promise<() => Promise<void>> {
  const progress = (line: string): void => void process.stderr.write(`e2e-workers: ${line}\n`);
  const discard = await WorkersRelease.install({ names: WORKERS, progress });
  return process.env["KEEP_E2E_CLUSTER"] === undefined ? discard : async () => {};
}
