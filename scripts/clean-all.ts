// Removes the cluster that `make up` made, with everything in it: processes, mounts, network namespaces, cgroups, state and the kube context;
// or the kind cluster, where that was what it made. Never a cluster behind --context. Built binaries and images stay in the cache, so that
// the next `make up` is quick. Repeatable. Exit codes: 0 done, 1 failed, 2 wrong usage.
import { chooseTarget } from "./install/choose-target.ts";
import { failureText } from "./install/failure.ts";
import { readOptions } from "./install/options.ts";
import { localProfile } from "./install/profile.ts";
import { runSteps } from "./install/run-steps.ts";

const usage = `Usage: node scripts/clean-all.ts [--name NAME]

  --name NAME  which local cluster (default: ${localProfile.cluster})
`;

const values = readOptions(usage, { name: { type: "string", default: localProfile.cluster } });

try {
  const target = await chooseTarget({ cluster: values.name });
  await runSteps([{ title: `Removing ${target.title}`, run: (progress) => target.down(progress) }]);
} catch (error) {
  process.stderr.write(`\n${failureText(error)}\n`);
  process.exit(1);
}
