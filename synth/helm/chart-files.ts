import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type App, Chart } from "cdk8s";
import { stringify } from "yaml";
import { chartTemplate, templateFile, userObjects } from "./documents.ts";
import { type Expression, expressionOf } from "./expression.ts";
import type { Tree } from "./values.ts";
import { valuesSchema, valuesTable, valuesYaml } from "./values-files.ts";
import { type Json, textTemplate } from "./yaml.ts";

/** A Helm chart: the construct tree and what Helm wants around it. */
export type HelmChart = {
  /** The fields of Chart.yaml. */
  about: { name: string; version: string; description: string; [field: string]: Json };
  /** Printed on top of every generated file: who makes it, and from what. */
  banner: string;
  app: App;
  values: Tree;
  /** Named templates by name. The bodies may hold expressions, or be written in the template language by hand (`helperCode`). */
  helpers: { [name: string]: Helper };
  /** Conditions under which Helm must refuse to render, with what it then says. */
  checks: readonly Check[];
  /** The value that holds a user's own objects, if there is one. */
  extraObjects?: Expression<unknown>;
  /** NOTES.txt, with expressions. */
  notes: string;
  /** What the README says before the table of values. */
  readme: string;
};

export type Helper = { doc: string } & ({ text: string } | { code: string });
/** `within` is the opening of a block around the check, such as a `range`. */
export type Check = { unless: string; message: string; within?: string };

const HELMIGNORE = [
  "# Files that are not part of the package.",
  ".DS_Store",
  ".git/",
  ".gitignore",
  "*.orig",
  "*.swp",
  "*.tmp",
  "*~",
  "",
].join("\n");

const templateComment = (text: string): string => `{{- /* ${text} */ -}}\n`;

function helperTemplate(name: string, helper: Helper): string {
  const body = "code" in helper ? helper.code : textTemplate(helper.text);
  return `\n{{- /* ${helper.doc} */}}\n{{- define ${JSON.stringify(name)} -}}\n${body.trimEnd()}\n{{- end }}\n`;
}

/** The chart as its files, by path. Pure but for cdk8s' own switch, so that a test can compare it with what is committed. */
export function chartFiles(chart: HelmChart): Map<string, string> {
  const banner = `# ${chart.banner}\n`;
  const files = new Map<string, string>([
    ["Chart.yaml", banner + stringify({ apiVersion: "v2", ...chart.about }, { lineWidth: 0, version: "1.1" })],
    ["values.yaml", banner + valuesYaml(chart.values)],
    ["values.schema.json", `${JSON.stringify(valuesSchema(chart.values), null, 2)}\n`],
    ["README.md", `<!-- ${chart.banner} -->\n${chart.readme.trimEnd()}\n\n## Values\n\n${valuesTable(chart.values)}`],
    [".helmignore", HELMIGNORE],
    ["templates/NOTES.txt", `${textTemplate(chart.notes).trim()}\n`],
    [
      "templates/_helpers.tpl",
      templateComment(chart.banner) +
        Object.entries(chart.helpers)
          .map(([name, helper]) => helperTemplate(name, helper))
          .join(""),
    ],
  ]);
  files.set(
    "templates/checks.yaml",
    templateComment(chart.banner) + [writable, endsOfLines, ...chart.checks].map(checkTemplate).join(""),
  );
  if (chart.extraObjects !== undefined)
    files.set("templates/extra-objects.yaml", templateComment(chart.banner) + userObjects(chart.extraObjects));
  keepingOrder(() => {
    for (const part of chart.app.node.children) {
      if (Chart.isChart(part)) files.set(templateFile(part), templateComment(chart.banner) + chartTemplate(part));
    }
  });
  return files;
}

/**
 * Helm's `toYaml` gives nothing at all for a map or a list with one of these characters in it, and a blank for U+0085: labels, tolerations
 * and limits would vanish without a word.
 */
const writable: Check = {
  unless: String.raw`eq (regexFind "[\\x7f-\\x9f\\x{feff}\\x{fffe}\\x{ffff}]" (toJson $.Values)) ""`,
  message: "a value holds one of the characters U+007F to U+009F, U+FEFF, U+FFFE and U+FFFF, which Helm cannot write. Remove it.",
};

/** Looked for in JSON, where a line end is a backslash and an n: a text whose last line is blank. A backslash before it may itself be escaped. */
const BLANK_LAST_LINE = '`[{\\[,:]"(?: |\\\\t)*\\\\n"|[^\\\\](?:\\\\\\\\)*\\\\n(?: |\\\\t)*\\\\n"`';

/**
 * `toYaml` writes such a text as a block scalar that keeps its line ends, and Helm trims the end of a document: at the end of one the text loses
 * them, elsewhere it can win one.
 */
const endsOfLines: Check = {
  unless: `eq (regexFind ${BLANK_LAST_LINE} (toJson $.Values)) ""`,
  message:
    "a value is a text whose last line is blank, which Helm does not keep as it is. Let it end in one line end, or in none.",
};

function checkTemplate(check: Check): string {
  const body = `{{- if not (${check.unless}) }}\n{{- fail (${expressionOf(check.message).code}) }}\n{{- end }}\n`;
  return check.within === undefined ? body : `{{- ${check.within} }}\n${body}{{- end }}\n`;
}

/** cdk8s sorts all keys unless this variable is set; a container reads best as it was written: name, image, args. */
function keepingOrder(action: () => void): void {
  const before = process.env["CDK8S_DISABLE_SORT"];
  process.env["CDK8S_DISABLE_SORT"] = "1";
  try {
    action();
  } finally {
    if (before === undefined) delete process.env["CDK8S_DISABLE_SORT"];
    else process.env["CDK8S_DISABLE_SORT"] = before;
  }
}

/** Replaces the folder's content by the chart. */
export async function writeChart(folder: string, chart: HelmChart): Promise<void> {
  const files = chartFiles(chart);
  await rm(folder, { recursive: true, force: true });
  for (const [path, content] of files) {
    const file = join(folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
  }
}
