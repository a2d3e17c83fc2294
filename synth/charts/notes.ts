import { textEach } from "../helm/entries.ts";
import { allOf, argument, filled, include, not, raw, textWhen } from "../helm/expression.ts";
import { defaultJobNamespace, jobNamespaceList, jobNamespaces, named, release } from "../release.ts";
import { v } from "../values.ts";
import { accountName } from "./access.ts";
import { configMapName } from "./config.ts";
import { natsUrl, withoutAuth } from "./nats-client.ts";
import {
  BUSY_RULES,
  commaList,
  configRules,
  JOB_RULES,
  leaseRules,
  NAMESPACE_RULES,
  type Rule,
  ruleText,
  type ServiceName,
  WORKER_RULES,
} from "./rights.ts";
import { hasScaler } from "./scaler.ts";
import { hasWorkers, marksBusyPods, type Worker } from "./worker-values.ts";

const inNamespace = `-n ${release.namespace}`;
const rawQueues = include("millrace.rawQueues");

const publish = `nats pub jobs.default.hello '{"template": "hello", "params": {"name": "world"}}'`;
const publishing = textWhen(
  v.nats.enabled,
  `  kubectl ${inNamespace} port-forward service/${named("nats")} 4222 &
  ${publish}`,
  `  ${publish.replace("nats pub", `nats --server ${natsUrl} pub`)}`,
);

/** A subject that a wildcard stands for, so that it can be published to. */
const example = ({ values }: Worker): string => `${raw(`${argument(values.subject)} | replace "*" "one" | replace ">" "two"`)}`;

const nats = textWhen(v.nats.enabled, "nats", `nats --server ${natsUrl}`);

const workers = textWhen(
  hasWorkers,
  `
Publish to a worker, and see its pods:
${textEach(
  "worker",
  v.workers,
  (worker) => `
  ${worker.name}, ${textWhen(v.keda.enabled, `${worker.values.min} to ${worker.values.max} pods`, "always there")}:
    ${nats} pub '${example(worker)}' '{}'
    kubectl ${inNamespace} get pods -l app=${worker.name} -w
    kubectl ${inNamespace} logs -l app=${worker.name} -f
`,
)}${textWhen(
  v.keda.enabled,
  `
  kubectl ${inNamespace} get scaledobjects,hpa   whether KEDA knows them
  kubectl ${inNamespace} logs deployment/${named("scaler")}   what it is told
`,
)}`,
);

const trying = textWhen(
  v.test.enabled,
  `Try it; this publishes a message and waits until its job has succeeded:

  helm test ${release.name} ${inNamespace}

`,
);

const ruleLines = (rules: readonly Rule[]): string => rules.map((rule) => `      ${ruleText(rule)}\n`).join("");

const rightsOf = (service: ServiceName): string => `  to the ServiceAccount ${accountName(service)}
    in each of ${commaList(jobNamespaceList)}
${ruleLines(JOB_RULES[service])}    in ${release.namespace}
${ruleLines(configRules(configMapName))}`;

/** The chart makes no Roles, so somebody else has to. */
const granting = textWhen(
  not(v.rbac.create),
  `Grant this, for rbac.create is false. Until then nothing runs:

${rightsOf("dispatcher")}${textWhen(v.dispatcher.leaderElection, ruleLines(leaseRules("dispatcher")))}
${rightsOf("monitor")}${ruleLines(leaseRules("monitor"))}${textWhen(hasWorkers, ruleLines(WORKER_RULES))}${textWhen(marksBusyPods, ruleLines(BUSY_RULES))}${textWhen(
  v.rbac.namespaceReader,
  `    in the whole cluster
${ruleLines(NAMESPACE_RULES)}`,
)}
`,
);

/** What a user may take for granted and does not have. */
const missing = [
  textWhen(
    v.nats.enabled,
    `
  - A second NATS server. The one is away while its node is; then nothing runs, and nothing is lost. For more than that run your own NATS,
    and set nats.enabled=false and nats.external.url. Its volume data-${named("nats")}-0 stays when the release is uninstalled.`,
  ),
  textWhen(
    allOf(v.nats.enabled, withoutAuth),
    `
  - A password for NATS: whoever reaches ${named("nats")} may publish, and so run jobs. See nats.extraConfig and nats.auth.`,
  ),
  textWhen(
    allOf(not(v.nats.enabled), withoutAuth),
    `
  - Credentials for NATS: the services say nobody's name there. See nats.auth.`,
  ),
  textWhen(
    allOf(v.nats.enabled, not(v.networkPolicy.enabled)),
    `
  - A NetworkPolicy: every pod of the cluster reaches NATS. See networkPolicy.enabled.`,
  ),
  textWhen(
    not(v.rbac.namespaceReader),
    `
  - The right to see that a job namespace was deleted: Jobs that ran in one stay "running" until it exists again. See rbac.namespaceReader.`,
  ),
  textWhen(
    allOf(hasWorkers, not(v.keda.enabled)),
    `
  - KEDA: each worker has as many pods as its min says, at least one, whether there is work or not. See keda.enabled.`,
  ),
  textWhen(
    allOf(hasWorkers, not(withoutAuth), not(filled(v.workerNats.auth.existingSecret))),
    `
  - Credentials of the workers' own: their programs show NATS those of the services. See workerNats.auth.`,
  ),
  textWhen(
    not(filled(rawQueues)),
    `
  - Raw messages, those that bring their own image: queues take templates only. See queues.<queue>.policy.raw.`,
  ),
].join("");

/** What Helm prints after an installation. */
export const notes = `Millrace is installed as ${release.instance}. Jobs may run in: ${jobNamespaces}

${granting}Wait until it is ready:

  kubectl ${inNamespace} rollout status deployment/${named("dispatcher")}
  kubectl ${inNamespace} rollout status deployment/${named("monitor")}
${textWhen(hasScaler, `  kubectl ${inNamespace} rollout status deployment/${named("scaler")}\n`)}
${trying}Publish a first message, and watch it become a Job:

${publishing}
  kubectl -n ${defaultJobNamespace} get jobs -w -l millrace.dev/instance=${release.instance}
${workers}
If nothing happens, look here:

  kubectl ${inNamespace} logs deployment/${named("dispatcher")}     takes messages, creates Jobs
  kubectl ${inNamespace} logs deployment/${named("monitor")}        watches Jobs, settles their messages
  kubectl ${inNamespace} get configmap ${named("config")} -o yaml   queues and templates; an edit by helm upgrade is live at once

What this installation does not have:
${missing}
`;
