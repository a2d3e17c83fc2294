// Removes the local cluster with everything in it: processes, mounts, network namespaces, cgroups, state and the kube context.
// Built binaries and images stay in the cache, so that the next `make up` is quick. Repeatable. Exit codes: 0 done, 1 failed, 2 wrong usage.
import { parseArgs } from "node:util";
import { errorText } from "../libs/contract/errors.ts";
import { LocalCluster } from "./cluster/cluster.ts";
import { localProfile } from "./install/profile.ts";
import { runSteps } from "./install/run-steps.ts";

const usage = `Usage: node scripts/clean-all.ts [--name NAME]

  --name NAME  which local cluster (default: ${localProfile.cluster})
`;

const { values } = parseArgs({
  options: { name: { type: "string", default: localProfile.cluster }, help: { type: "boolean", short: "h", default: false } },
});
if (values.help) {
  process.stdout.write(usage);
  process.exit(0);
}

try {
  await runSteps([
    {
      title: `Removing cluster ${values.name}`,
      run: (progress) => new LocalCluster({ name: values.name, progress }).down(),
    },
  ]);
} catch (error) {
  process.stderr.write(`\n${errorText(error)}\n`);
  process.exit(1);
}
