// A local Kubernetes without Docker, for people and Makefiles. Needs root, Go 1.26 and Debian's packages (installed when missing).
// stdout = data, stderr = progress. Exit codes: 0 done and well, 1 failed or (status) not all running, 2 wrong usage.
import { parseArgs } from "node:util";
import { binaryNames, ensureBinaries } from "./binaries.ts";
import { ClusterError, LocalCluster } from "./cluster.ts";

const usage = `Usage: node scripts/cluster/main.ts COMMAND [--name NAME] [--json]

  up        start the cluster, or heal it; says which context to use
  down      remove it with everything it made
  status    one line per component
  binaries  build the programs only (no root, no cluster)

  --name NAME  which cluster (default: millrace)
  --json       data as JSON
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    name: { type: "string", default: "millrace" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", short: "h" },
  },
});

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

function print(data: unknown, text: string): void {
  process.stdout.write(values.json ? `${JSON.stringify(data)}\n` : `${text}\n`);
}

async function run(verb: string | undefined): Promise<number> {
  switch (verb) {
    case "up": {
      const cluster = new LocalCluster({ name: values.name, progress });
      const result = await cluster.up();
      const { context, kubeconfig, binDir, logDir } = cluster;
      print({ ...result, context, kubeconfig, binDir, logDir }, context);
      progress(`Next: ${binDir}/kubectl --context ${context} get nodes`);
      return 0;
    }
    case "down":
      await new LocalCluster({ name: values.name, progress }).down();
      return 0;
    case "status": {
      const health = await new LocalCluster({ name: values.name, progress }).health();
      print(
        health,
        health.map(({ component, state, detail }) => `${component.padEnd(20)}${state.padEnd(9)}${detail}`).join("\n"),
      );
      return health.every(({ state }) => state === "running") ? 0 : 1;
    }
    case "binaries": {
      const paths = await ensureBinaries(binaryNames, progress);
      print(paths, Object.values(paths).join("\n"));
      return 0;
    }
    default:
      progress(usage);
      return values.help === true ? 0 : 2;
  }
}

try {
  process.exitCode = await run(positionals[0]);
} catch (error) {
  if (!(error instanceof ClusterError)) throw error;
  progress(`${error.code}: ${error.message}`);
  process.exitCode = 1;
}
