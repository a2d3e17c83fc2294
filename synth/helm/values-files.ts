import { stringify } from "yaml";
import { Entries, type Leaf, SAFE_INTEGERS, type Schema, Section, type Tree } from "./values.ts";
import type { Json } from "./yaml.ts";

const WIDTH = 110;

function comment(text: string, indent: string, marker: string): string {
  const rows: string[] = [];
  let row = marker;
  for (const word of text.split(/\s+/u)) {
    if (row.length + 1 + word.length > WIDTH - indent.length && row !== marker) {
      rows.push(row);
      row = "#";
    }
    row += ` ${word}`;
  }
  return [...rows, row].map((line) => `${indent}${line}\n`).join("");
}

/** Helm reads YAML 1.1, in which a bare `yes` is a boolean. */
const pair = (key: string, value: Json | undefined): string =>
  value === undefined ? `${key}:\n` : stringify({ [key]: value }, { lineWidth: 0, version: "1.1" });

function indented(text: string, indent: string): string {
  return text.replace(/^(?=.)/gmu, indent);
}

const INT32_MAX = 2 ** 31 - 1;

/** A limit that tells a reader something: not that of Helm's numbers, nor that of Kubernetes'. */
function limit(leaf: Leaf<unknown>, name: "minimum" | "maximum"): Json | undefined {
  const found = leaf.schema[name];
  return found === SAFE_INTEGERS[name] || found === INT32_MAX ? undefined : found;
}

/** What the schema says about a value, in words. */
function rules(leaf: Leaf<unknown>): string {
  const { enum: allowed } = leaf.schema;
  const minimum = limit(leaf, "minimum");
  const maximum = limit(leaf, "maximum");
  if (Array.isArray(allowed)) return ` One of ${allowed.map((value) => JSON.stringify(value)).join(", ")}.`;
  if (minimum !== undefined && maximum !== undefined) return ` From ${minimum} to ${maximum}.`;
  if (minimum !== undefined) return ` At least ${minimum}.`;
  return maximum !== undefined ? ` At most ${maximum}.` : "";
}

/** values.yaml: every value with its default, explained. */
export function valuesYaml(tree: Tree, indent = ""): string {
  return Object.entries(tree)
    .map(([key, node]) => {
      const gap = indent === "" ? "\n" : "";
      if (node instanceof Section) {
        return `${gap}${comment(node.doc, indent, "#")}${indent}${key}:\n${valuesYaml(node.values, `${indent}  `)}`;
      }
      const value = pair(key, node.initial);
      const fields = node instanceof Entries ? indented(entryYaml(node), `${indent}# `) : "";
      return `${gap}${comment(node.doc + rules(node), indent, "# --")}${indented(value, indent)}${fields}`;
    })
    .join("");
}

/** What an entry may hold, for a comment. */
function entryYaml(node: Entries<Tree>): string {
  return `<name>:\n${valuesYaml(node.fields, "  ")}`;
}

/**
 * The JSON Schema of the values, as they are when Helm has merged the user's over the defaults. So everything is required but blocks, which
 * may be empty: a missing key means that a user has set it to null, and a template would take that for 0 or "". Draft 7, which every Helm
 * still in use understands.
 */
export function valuesSchema(tree: Tree): Schema {
  return { $schema: "http://json-schema.org/draft-07/schema#", ...sectionSchema(new Section("", tree, true), true) };
}

function sectionSchema(node: Section<Tree>, root: boolean): Schema {
  const properties: { [key: string]: Json } = {};
  const required: string[] = [];
  for (const [key, inner] of Object.entries(node.values)) {
    properties[key] = inner instanceof Section ? sectionSchema(inner, false) : leafSchema(inner);
    if (inner instanceof Section || inner.kind !== "block") required.push(key);
  }
  // Helm hands `global` to every chart of a release, whether it declares it or not.
  if (root && properties["global"] === undefined) properties["global"] = { type: "object" };
  const described = node.doc === "" ? {} : { description: node.doc };
  return { ...described, type: "object", additionalProperties: !node.closed, required, properties };
}

function leafSchema(leaf: Leaf<unknown>): Schema {
  const described = { description: leaf.doc, ...leaf.schema };
  if (!(leaf instanceof Entries)) return described;
  return { ...described, patternProperties: { [leaf.names]: entrySchema(leaf) }, additionalProperties: false };
}

/** Nothing is laid under an entry: what it lacks has its default. */
function entrySchema({ fields, required }: Entries<Tree>): Schema {
  const optional = (node: Section<Tree>): Schema => ({
    type: "object",
    additionalProperties: !node.closed,
    properties: Object.fromEntries(Object.entries(node.values).map(([key, inner]) => [key, fieldSchema(inner)])),
  });
  const fieldSchema = (inner: Leaf<unknown> | Section<Tree>): Schema => {
    if (inner instanceof Section) return { ...(inner.doc === "" ? {} : { description: inner.doc }), ...optional(inner) };
    const { initial } = inner;
    return { ...leafSchema(inner), ...(initial === undefined ? {} : { default: initial }) };
  };
  const schema = optional(new Section("", fields, true));
  return required.length === 0 ? schema : { ...schema, required: [...required] };
}

/** The table of all values for the README. */
export function valuesTable(tree: Tree): string {
  const rows = leaves(tree, "").map(([path, leaf]) => {
    const initial = leaf.initial === undefined ? "" : `\`${JSON.stringify(leaf.initial)}\``;
    const cells = [`\`${path}\``, String(leaf.schema["type"]), initial, leaf.doc + rules(leaf)];
    return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
  });
  return `| Key | Type | Default | Description |\n|---|---|---|---|\n${rows.join("")}`;
}

function leaves(tree: Tree, prefix: string): [path: string, leaf: Leaf<unknown>][] {
  return Object.entries(tree).flatMap(([key, node]) => {
    const path = `${prefix}${key}`;
    if (node instanceof Section) return leaves(node.values, `${path}.`);
    const fields = node instanceof Entries ? leaves(node.fields, `${path}.<name>.`) : [];
    return [[path, node] as [string, Leaf<unknown>], ...fields];
  });
}
