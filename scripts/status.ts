// One screen: the cluster's components, its nodes, the services, the streams with their counts, the last jobs. stdout = data.
// Exit codes: 0 all well, 1 something is sick (it says what and why), 2 wrong usage.
import { chooseTarget } from "./install/choose-target.ts";
import { failureText } from "./install/failure.ts";
import { nodeLines } from "./install/node-lines.ts";
import { readOptions } from "./install/options.ts";
import { localProfile } from "./install/profile.ts";
import type { Section } from "./install/section.ts";
import { jobLines, objectLines, serviceLines, streamLines, workerLines } from "./install/status-sections.ts";

const usage = `Usage: node scripts/status.ts [--name NAME | --context NAME]

  --name NAME     which local cluster (default: ${localProfile.cluster})
  --context NAME  the cluster of this kube context instead
`;

const values = readOptions(usage, {
  context: { type: "string" },
  name: { type: "string", default: localProfile.cluster },
});

// `make status | head`: with the reader gone there is nobody left to tell.
process.stdout.on("error", () => process.exit());

try {
  const target = await chooseTarget({ cluster: values.name, context: values.context });
  if (!(await target.exists())) {
    process.stdout.write(`There is no ${target.title}. Make one with: make up\n`);
    process.exit(1);
  }
  const profile = { ...localProfile, cluster: values.name };
  const sections: readonly [string, () => Promise<Section | undefined>][] = [
    ["Cluster", () => target.health()],
    ["Nodes", () => nodeLines(target)],
    ["Services", () => serviceLines(target, profile)],
    ["Streams", () => streamLines(target, profile)],
    ["Workers", () => workerLines(target, profile)],
    ["Last images", () => objectLines(target, profile)],
    ["Last jobs", () => jobLines(target, profile)],
  ];
  for (const [title, read] of sections) {
    const section = await read().catch((error: unknown): Section => {
      return { well: false, lines: [`cannot be read: ${failureText(error).split("\n").slice(0, 2).join(" ")}`] };
    });
    if (section === undefined) continue;
    process.stdout.write(`${section.well ? "✔" : "✖"} ${title}\n${section.lines.map((line) => `    ${line}\n`).join("")}`);
    if (!section.well) process.exitCode = 1;
  }
} catch (error) {
  process.stderr.write(`${failureText(error)}\n`);
  process.exitCode = 1;
}
