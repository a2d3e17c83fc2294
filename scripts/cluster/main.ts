// A local Kubernetes without Docker, for people and Makefiles. Needs root, Go 1.26 and Debian's packages (installed when missing).
// stdout = data, stderr = progress. Exit codes: 0 done and well, 1 failed or (status) not all running, 2 wrong usage.
import { parseArgs } from "node:util";
import { type BinaryName, baseBinaries, binaryNames, ensureBinaries } from "./binaries.ts";
import { ClusterError, LocalCluster } from "./cluster.ts";
import { isNodeCount } from "./node-layout.ts";

const usage = `Usage: node scripts/cluster/main.ts COMMAND [PROGRAM...] [--name NAME] [--nodes 1|2] [--json]

  up        start the cluster, or heal it; says which context to use
  down      remove it with everything it made
  status    one line per component
  binaries  build programs only (no root, no cluster): those that \`up\` needs, or the named of ${binaryNames.join(", ")}

  --name NAME  which cluster (default: millrace)
  --nodes N    with \`up\`: how many nodes, 1 or 2 (default: as many as it has)
  --json       data as JSON
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    name: { type: "string", default: "millrace" },
    nodes: { type: "string" },
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

function wantedBinaries(names: readonly string[]): readonly BinaryName[] {
  const unknown = names.find((name) => !binaryNames.some((known) => known === name));
  if (unknown !== undefined) throw new ClusterError("OPTION_INVALID", `"${unknown}" is none of ${binaryNames.join(", ")}.`);
  return names.length === 0 ? baseBinaries : binaryNames.filter((name) => names.includes(name));
}

async function run(verb: string | undefined): Promise<number> {
  switch (verb) {
    case "up": {
      const cluster = new LocalCluster({ name: values.name, progress });
      const nodes = Number(values.nodes ?? cluster.nodes);
      if (!isNodeCount(nodes)) throw new ClusterError("OPTION_INVALID", `--nodes takes 1 or 2, not "${values.nodes}".`);
      const result = await cluster.up({ nodes });
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
      const paths = await ensureBinaries(wantedBinaries(positionals.slice(1)), progress);
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
