// Measures Millrace against the raw API server and others, on a cluster of its own, and writes dist/bench/<name>.json.
// Exit codes: 0 everything was measured, 1 a bench failed, 2 wrong usage.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { errorText } from "../libs/contract/errors.ts";
import { kubeconfigAccess } from "../libs/kube/access.ts";
import { ensureBinaries } from "../scripts/cluster/binaries.ts";
import { bundleServices } from "../scripts/install/product-image.ts";
import { dispatch } from "./dispatch.ts";
import { growth } from "./growth.ts";
import { BenchCluster } from "./harness/bench-cluster.ts";
import { reportDir, reportText, saveReport } from "./harness/report.ts";
import type { Bench } from "./harness/stage.ts";
import { keda } from "./keda.ts";
import { latency } from "./latency.ts";
import { scale } from "./scale.ts";

/** In this order: those that need the API server alone come first. */
const benches: readonly Bench[] = [dispatch, latency, growth, keda, scale];
const names = benches.map(({ name }) => name);

const usage = `Usage: node bench/main.ts [${names.join("|")}]... [options]

  --rounds N      how often each thing is measured (default: 5)
  --quick         small numbers: to see whether the benches work
  --cluster NAME  the cluster that is made and removed (default: millrace-bench)
  --profile       with CPU profiles of the services, in dist/bench/profiles
  --keep          leave the cluster running
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "5" },
    quick: { type: "boolean", default: false },
    cluster: { type: "string", default: "millrace-bench" },
    profile: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
    /** Set by this program itself, for the part that runs within the cluster's network namespace. */
    inside: { type: "string" },
    help: { type: "boolean", short: "h", default: false },
  },
});

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

const cluster = new BenchCluster({ name: values.cluster, progress });

/** In the machine's network namespace: cluster up, each bench in a process of its own, cluster down. */
async function outside(wanted: readonly Bench[]): Promise<number> {
  const failed: string[] = [];
  let stopped = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => (stopped = true));
  try {
    await ensureBinaries(["nats-server"], progress);
    await bundleServices();
    for (const bench of wanted) {
      if (stopped) break;
      await cluster.shape(bench.shape);
      progress(`== ${bench.name}`);
      const command = [process.execPath, import.meta.filename, "--inside", bench.name, ...process.argv.slice(2)];
      const child = spawn("nsenter", [`--net=${cluster.netnsFile}`, ...command], { stdio: ["ignore", "inherit", "inherit"] });
      const [code] = (await once(child, "exit")) as [number | null];
      if (code !== 0) failed.push(bench.name);
      if (bench.spendsCluster === true && !values.keep) await cluster.down();
    }
  } finally {
    if (!values.keep) await cluster.down();
  }
  for (const name of failed) progress(`${name}: failed`);
  return failed.length === 0 && !stopped ? 0 : 1;
}

async function inside(bench: Bench): Promise<void> {
  const { "nats-server": natsServer } = await ensureBinaries(["nats-server"], progress);
  const rounds = Number(values.rounds);
  const { quick } = values;
  const report = await bench.run({
    cluster,
    access: await kubeconfigAccess(cluster.kubeconfig),
    bundle: await bundleServices(),
    natsServer,
    rounds,
    quick,
    profiles: values.profile ? join(reportDir, "profiles") : undefined,
    progress: (line) => progress(`${bench.name}: ${line}`),
  });
  saveReport(report, { rounds, quick, disk: cluster.stateDir });
  process.stdout.write(`${reportText(report)}\n`);
}

const unknown = positionals.filter((name) => !names.includes(name));
if (values.help || unknown.length > 0 || !(Number(values.rounds) >= 1)) {
  process.stderr.write(unknown.length > 0 ? `${unknown.join(", ")}: no such bench\n\n${usage}` : usage);
  process.exit(values.help ? 0 : 2);
}
const only = benches.find(({ name }) => name === values.inside);
try {
  if (only === undefined) {
    process.exitCode = await outside(benches.filter(({ name }) => positionals.length === 0 || positionals.includes(name)));
  } else {
    if (!existsSync(cluster.kubeconfig)) throw new Error(`${cluster.name} is not up`);
    await inside(only);
    process.exit(0);
  }
} catch (error) {
  progress(errorText(error));
  process.exit(1);
}
