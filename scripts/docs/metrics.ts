import { FAILURE_CLASSES } from "../../libs/contract/failure-class.ts";
import { PROCESS_ENDS } from "../../libs/contract/worker-end.ts";
import { type MetricDeclaration, Metrics, UNCONFIGURED_QUEUE } from "../../libs/runtime/metrics.ts";
import { BLOCK_CAUSES } from "../../services/dispatcher/block-cause.ts";

const quoted = (words: readonly string[]): string => words.map((word) => `\`${word}\``).join(", ");

function row({ name, type, labels, services, help }: MetricDeclaration): string {
  return `| \`${name}\` | ${type} | ${quoted(labels)} | ${services.join(", ")} | ${help} |\n`;
}

/** docs/metrics.md: what the services export, as it is declared. */
export function metricsPage(): string {
  const rows = new Metrics("all").declarations.map(row).join("");
  return `<!-- Generated from libs/runtime/metrics.ts by \`npm run docs\`. Do not edit. -->
# Metrics

Every service serves its own as \`/metrics\` on port 8080, in Prometheus' text format. Which of them to look at, and on what to alert, is in
[Operations](operations.md#metrics). The chart makes ServiceMonitors when \`metrics.serviceMonitor.enabled\` is set.
Scraped otherwise, they want \`honor_labels: true\`: \`service\` and \`namespace\` are labels of theirs, over which Prometheus would write the target's.

| metric | type | labels | from | what it tells |
|---|---|---|---|---|
${rows}
A histogram \`NAME\` has the series \`NAME_bucket\`, \`NAME_sum\` and \`NAME_count\`. What is measured by sweeps (every \`sweepInterval\`, 30 s) or by the leader alone
is exported only by the monitor that leads. Counters begin at 0 with each process. The metrics of Node.js (\`process_…\`, \`nodejs_…\`) are there, too.

## Labels

No label holds an id, a name that a producer chose, or anything else that grows with the number of messages.

| label | values |
|---|---|
| \`service\` | on every series: the service that exports it |
| \`queue\` | the queues of the configuration. \`${UNCONFIGURED_QUEUE}\` stands for all that it does not have: queues that were taken out, misspelt subjects |
| \`namespace\` | namespaces in which the configuration lets Jobs run; of a watch of \`configmaps\` or \`worker-pods\` the release's own |
| \`class\` | of failures ${quoted(FAILURE_CLASSES)} ([Concepts](concepts.md)); of attempts \`succeeded\`, too; of workers' processes ${quoted(PROCESS_ENDS)} |
| \`reason\` | ${quoted(BLOCK_CAUSES)}: why the API server took no Job |
| \`code\` | of rejections the code of the error, such as \`JOB_SPEC_INVALID\`; of requests the HTTP status, \`0\` without an answer |
| \`outcome\` | of attempts \`succeeded\`, \`failed\`, \`cancelled\`; of spans \`exported\`, \`dropped\`; of looks \`confirmed\`, \`failed\` |
| \`worker\` | the workers of the configuration; of messages that were handed back \`${UNCONFIGURED_QUEUE}\` for all others |
| \`state\` | of a worker's messages: \`waiting\`, \`held\`, \`sleeping\` |
| \`cause\` | \`published\`, \`due\` (a retry that slept), \`polled\`, \`asked\` (by KEDA), \`began\`, \`reconnected\` |
| \`active\` | \`true\`, \`false\` |
| \`kind\` | of watches \`jobs\`, \`pods\`, \`worker-pods\`, \`configmaps\` |
| \`method\` | \`GET\`, \`POST\`, \`PUT\`, \`PATCH\`, \`DELETE\` |
| \`version\` | of the image |
| \`stream\` | \`JOBS\`, \`RETRY\`, \`DLQ\`, \`WORK\`, \`WORK_RETRY\`, \`KV_millrace_jobs\`, \`KV_millrace_claims\` |
`;
}
