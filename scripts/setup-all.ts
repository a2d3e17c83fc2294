// From a fresh clone to a running Millrace: a local Kubernetes, the chart on it, and one job run for real. Needs root, Go 1.26 and npm.
// Idempotent: what is already there is left alone. stdout = data (the hello Job's log and outcome), stderr = progress.
// Exit codes: 0 done, 1 failed, 2 wrong usage.
import { parseArgs } from "node:util";
import { errorText } from "../libs/contract/errors.ts";
import { LocalCluster } from "./cluster/cluster.ts";
import { type HelloResult, runHelloJob } from "./install/hello-job.ts";
import { localProfile } from "./install/profile.ts";
import { runSteps } from "./install/run-steps.ts";
import { installSteps, type Step } from "./install/steps.ts";

const usage = `Usage: npm run up [-- --help]

  Starts the local cluster ${localProfile.cluster}, installs the chart, and runs the hello job.
`;

const { values } = parseArgs({ options: { help: { type: "boolean", short: "h", default: false } } });
if (values.help) {
  process.stdout.write(usage);
  process.exit(0);
}

let hello: HelloResult | undefined;
const cluster = new LocalCluster({ name: localProfile.cluster, progress: () => {} });
const steps: Step[] = [
  ...installSteps(localProfile),
  {
    title: "A hello job",
    async run() {
      hello = await runHelloJob(cluster, localProfile);
    },
  },
];

try {
  await runSteps(steps);
} catch (error) {
  process.stderr.write(`\n${errorText(error)}\n\nComponent logs: ${cluster.logDir}\n`);
  process.exit(1);
}

process.stdout.write(`${hello?.log ?? ""}\n${hello?.outcome ?? ""}\n`);
process.stderr.write(`
Millrace runs. kubectl and helm are here:
  export PATH="${cluster.binDir}:$PATH"
Publish a job and wait for its outcome:
  npx millrace pub jobs.default.hello '{"template":"hello","params":{"name":"you"}}' --wait
See everything:  make status      Remove everything:  make down
`);
