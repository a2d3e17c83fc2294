// One screen: the cluster's components, the services, the streams with their counts, the last jobs. stdout = data.
// Exit codes: 0 all well, 1 something is sick (it says what), 2 wrong usage.
import { parseArgs } from "node:util";
import { errorText } from "../libs/contract/errors.ts";
import { LocalCluster } from "./cluster/cluster.ts";
import { localProfile } from "./install/profile.ts";
import { componentLines, jobLines, type Section, serviceLines, streamLines } from "./install/status-sections.ts";

const usage = `Usage: node scripts/status.ts [--name NAME]

  --name NAME  which local cluster (default: ${localProfile.cluster})
`;

const { values } = parseArgs({
  options: { name: { type: "string", default: localProfile.cluster }, help: { type: "boolean", short: "h", default: false } },
});
if (values.help) {
  process.stdout.write(usage);
  process.exit(0);
}

const cluster = new LocalCluster({ name: values.name, progress: () => {} });
if (!cluster.exists()) {
  process.stdout.write(`There is no local cluster ${values.name}. Make one with: make up\n`);
  process.exit(1);
}
const profile = { ...localProfile, cluster: values.name };
const sections: readonly [string, () => Promise<Section>][] = [
  ["Cluster", () => componentLines(cluster)],
  ["Services", () => serviceLines(cluster, profile)],
  ["Streams", () => streamLines(cluster, profile)],
  ["Last jobs", () => jobLines(cluster, profile)],
];
for (const [title, read] of sections) {
  let section: Section;
  try {
    section = await read();
  } catch (error) {
    section = { well: false, lines: [`cannot be read: ${errorText(error).split("\n")[0]}`] };
  }
  process.stdout.write(`${section.well ? "✔" : "✖"} ${title}\n${section.lines.map((line) => `    ${line}\n`).join("")}`);
  if (!section.well) process.exitCode = 1;
}
