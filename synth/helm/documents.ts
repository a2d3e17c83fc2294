import { ApiObject, type Chart } from "cdk8s";
import type { Construct } from "constructs";
import { spread } from "./collections.ts";
import { type Entry, overEntries, variable } from "./entries.ts";
import { type Condition, Expression } from "./expression.ts";
import type { EntriesReference, Tree } from "./values.ts";
import { type Json, toTemplate } from "./yaml.ts";

/** The construct metadata that holds what surrounds its documents: the opening action of an `if` or a `range`. */
const GUARD = "helm:guard";

/** The construct's documents exist only when the condition holds. */
export function when(construct: Construct, wanted: Condition): void {
  construct.node.addMetadata(GUARD, `if ${wanted.code}`);
}

/** The construct's documents are repeated for each element of a list of strings. Returns the element. */
export function each(construct: Construct, name: string, list: Expression<unknown>): Expression<string> {
  construct.node.addMetadata(GUARD, `range ${variable(name)} := ${list.code}`);
  return new Expression<string>(variable(name), "string");
}

/** The construct's documents are repeated for each entry, in the order of their names. Returns the entry. */
export function eachEntry<T extends Tree>(construct: Construct, name: string, all: EntriesReference<T>): Entry<T> {
  const { opening, entry } = overEntries(name, all);
  construct.node.addMetadata(GUARD, opening);
  return entry;
}

/** The construct metadata that holds the name of a chart's template file. */
const FILE = "helm:file";

/** The chart's template file is not named after the chart: `inFile(chart, "tests/smoke")`. */
export function inFile(chart: Chart, path: string): void {
  chart.node.addMetadata(FILE, path);
}

/** Under `templates/`. */
export function templateFile(chart: Chart): string {
  const [named] = chart.node.metadata.filter(({ type }) => type === FILE);
  return `templates/${named?.data ?? chart.node.id}.yaml`;
}

/** Every object of the tree gets the entries of the user's map as annotations; its own win. */
export function annotateAll(root: Construct, annotations: Expression<{ [key: string]: string }>): void {
  for (const construct of root.node.findAll()) {
    if (!ApiObject.isApiObject(construct)) continue;
    for (const [key, value] of Object.entries(spread(annotations))) construct.metadata.addAnnotation(key, value);
  }
}

/**
 * Any further objects that a user wants, each through `tpl`, so that they may say `{{ .Release.Name }}`: as objects, or as texts when an
 * expression stands where YAML wants a number or a whole map.
 */
export function userObjects(list: Expression<unknown>): string {
  return [`{{- range ${list.code} }}`, "---", '{{ tpl (typeIs "string" . | ternary . (toYaml .)) $ }}', "{{- end }}", ""].join(
    "\n",
  );
}

/** All documents of a cdk8s chart as one template file. */
export function chartTemplate(chart: Chart): string {
  return chart.node
    .findAll()
    .filter((construct) => ApiObject.isApiObject(construct))
    .map((construct) => documentTemplate(construct as ApiObject))
    .join("");
}

function documentTemplate(object: ApiObject): string {
  const around = object.node.scopes.flatMap((scope) => scope.node.metadata.filter(({ type }) => type === GUARD));
  const opening = around.map(({ data }) => `{{- ${data} }}\n`).join("");
  const closing = around.map(() => "{{- end }}\n").join("");
  const body = toTemplate(ordered(object.toJson()));
  return `${opening}---\n${body}${endsInBlock(body) ? LAST_LINE : ""}${closing}`;
}

/**
 * Helm trims all white space at the end of a document, a user's no-break space too. Where a user's block is the end, a comment is put behind it.
 */
const LAST_LINE = "#\n";

function endsInBlock(body: string): boolean {
  return body.endsWith("{{- end }}\n");
}

/** cdk8s sorts the metadata by its keys; a reader looks for the name first. */
function ordered(object: { [key: string]: Json | undefined }): { [key: string]: Json | undefined } {
  const { metadata } = object;
  if (typeof metadata !== "object" || metadata === null || Array.isArray(metadata)) return object;
  const { name, namespace, labels, annotations, ...rest } = metadata;
  return { ...object, metadata: { name, namespace, labels, annotations, ...rest } };
}
