// From a fresh clone to a running Millrace: a Kubernetes, the chart on it, and one job run for real. Needs root, Go 1.26 and npm for the local
// cluster. Idempotent: what is already there is left alone. stdout = data (the hello Job's log and outcome, or the plan), stderr = progress.
// Exit codes: 0 done, 1 failed, 2 wrong usage.
import { parseArgs } from "node:util";
import { errorText } from "../libs/contract/errors.ts";
import { ClusterError } from "./cluster/cluster-error.ts";
import { isNodeCount } from "./cluster/node-layout.ts";
import { chooseTarget } from "./install/choose-target.ts";
import { requireConsent, terminalQuestion } from "./install/consent.ts";
import { failureText } from "./install/failure.ts";
import { type HelloResult, runHelloJob } from "./install/hello-job.ts";
import { ImagePipeline } from "./install/image-pipeline.ts";
import { LocalTarget } from "./install/local-target.ts";
import { contextProfile, localProfile } from "./install/profile.ts";
import { runSteps } from "./install/run-steps.ts";
import { installSteps, type Step } from "./install/steps.ts";

const usage = `Usage: node scripts/setup-all.ts [OPTIONS]      (make up ARGS="OPTIONS")

Finds a cluster or makes one, installs the chart, and runs the hello job. Without --context: kind where a Docker engine answers and
\`kind\` is installed, else a Kubernetes of processes on this machine.

  --dry-run         print the steps and what each would change; change nothing
  --nodes 1|2       how many nodes the local cluster has (default: as many as it has, a new one has 1)
  --with keda       KEDA too, as an install of its own
  --with images     the image workers too, with KEDA, an S3 and a few pictures; once there, they stay
  --name NAME       name of the local cluster (default: ${localProfile.cluster})
  --context NAME    install on this kube context instead; asks first unless it is a cluster of this machine
  --registry PLACE  with --context: host[:port]/path that \`make push\` was given, where the cluster pulls the image
  --yes             do not ask
  -h, --help
`;

const EXTRAS = ["keda", "images"];

function readOptions() {
  const { values } = parseArgs({
    options: {
      context: { type: "string" },
      "dry-run": { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
      name: { type: "string", default: localProfile.cluster },
      nodes: { type: "string" },
      registry: { type: "string" },
      with: { type: "string", multiple: true, default: [] },
      yes: { type: "boolean", default: false },
    },
  });
  const nodes = values.nodes === undefined ? undefined : Number(values.nodes);
  if (nodes !== undefined && !isNodeCount(nodes))
    throw new ClusterError("OPTION_INVALID", `--nodes takes 1 or 2, not "${values.nodes}".`);
  const extra = values.with.find((name) => !EXTRAS.includes(name));
  if (extra !== undefined) throw new ClusterError("OPTION_INVALID", `--with takes ${EXTRAS.join(" or ")}, not "${extra}".`);
  if (values.context !== undefined && nodes !== undefined) {
    throw new ClusterError(
      "OPTION_INVALID",
      "--nodes is for clusters that this makes; the one behind --context has the nodes that it has.",
    );
  }
  if (values.context !== undefined && values.registry === undefined) {
    throw new ClusterError(
      "OPTION_INVALID",
      "The cluster behind --context pulls its images: push them first (make push REGISTRY=host/path), then name the place with --registry host/path.",
    );
  }
  if (values.context !== undefined && values.with.length > 0) {
    throw new ClusterError(
      "OPTION_INVALID",
      "--with is for clusters that take our images. On the one behind --context install KEDA with its own Helm chart; workers are values of ours.",
    );
  }
  return {
    ...values,
    nodes,
    keda: values.with.includes("keda"),
    images: values.with.includes("images"),
    dryRun: values["dry-run"],
  };
}

const imageExample = (context: string, namespace: string): string => `
Publish an image, then see both workers' logs, and both objects with make status:
  npx millrace pub image-download '{"url":"http://pictures.${namespace}/2000x1000.jpg"}'
  kubectl --context ${context} -n ${namespace} logs -l app=image-download -f
  kubectl --context ${context} -n ${namespace} logs -l app=image-resize -f`;

let options: ReturnType<typeof readOptions>;
try {
  options = readOptions();
} catch (error) {
  process.stderr.write(`${errorText(error)}\n\n${usage}`);
  process.exit(2);
}
if (options.help) {
  process.stdout.write(usage);
  process.exit(0);
}

try {
  const { context, keda, name, nodes, registry, yes } = options;
  const profile = { ...(context === undefined ? localProfile : contextProfile), cluster: name };
  const target = await chooseTarget({ cluster: name, context, registry, nodes });
  const { namespace } = profile;
  const images = options.images || (context === undefined && (await new ImagePipeline({ target, namespace }).exists()));
  let hello: HelloResult | undefined;
  const steps: Step[] = [
    ...installSteps(profile, { target, keda, images }),
    {
      title: "A hello job",
      async plan() {
        return "publish one message and wait for its outcome";
      },
      async run() {
        hello = await runHelloJob(target, profile);
      },
    },
  ];
  if (options.dryRun) {
    for (const step of steps) process.stdout.write(`${step.title}\n    ${await step.plan()}\n`);
    process.stderr.write("Nothing was changed.\n");
  } else {
    if (context !== undefined) await requireConsent({ context, given: yes, ask: terminalQuestion() });
    await runSteps(steps).catch((error: unknown) => {
      const logs = target instanceof LocalTarget ? `\n\nLogs of the cluster's components: ${target.logDir}` : "";
      process.stderr.write(`\n${failureText(error)}${logs}\n`);
      process.exit(1);
    });
    process.stdout.write(`${hello?.log ?? ""}\n${hello?.outcome ?? ""}\n`);
    process.stderr.write(`
Millrace runs on ${target.title}. kubectl and helm are here:
  export PATH="${target.binDir}:$PATH"
Publish a job and wait for its outcome:
  npx millrace pub jobs.default.hello '{"template":"hello","params":{"name":"you"}}' --wait${context === undefined ? "" : ` --context ${context}`}${images ? imageExample(target.context, namespace) : ""}
See everything:  make status${context === undefined ? "      Remove everything:  make down" : ` ARGS="--context ${context}"`}
`);
  }
} catch (error) {
  process.stderr.write(`${failureText(error)}\n`);
  process.exit(1);
}
