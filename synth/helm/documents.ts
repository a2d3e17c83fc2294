import { ApiObject, type Chart } from "cdk8s";
import type { Construct } from "constructs";
import { type Condition, Expression } from "./expression.ts";
import { type Json, toTemplate } from "./yaml.ts";

/** The construct metadata that holds what surrounds its documents: the opening action of an `if` or a `range`. */
const GUARD = "helm:guard";

/** The construct's documents exist only when the condition holds. */
export function when(construct: Construct, wanted: Condition): void {
  construct.node.addMetadata(GUARD, `if ${wanted.code}`);
}

/** The construct's documents are repeated for each element of a list of strings. Returns the element. */
export function each(construct: Construct, name: string, list: Expression<unknown>): Expression<string> {
  if (!/^[a-z][a-zA-Z0-9]*$/u.test(name)) throw new TypeError(`"${name}" cannot be the name of a template variable`);
  construct.node.addMetadata(GUARD, `range $${name} := ${list.code}`);
  return new Expression<string>(`$${name}`, "string");
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
  return `${opening}---\n${toTemplate(ordered(object.toJson()))}${closing}`;
}

/** cdk8s sorts the metadata by its keys; a reader looks for the name first. */
function ordered(object: { [key: string]: Json | undefined }): { [key: string]: Json | undefined } {
  const { metadata } = object;
  if (typeof metadata !== "object" || metadata === null || Array.isArray(metadata)) return object;
  const { name, namespace, labels, annotations, ...rest } = metadata;
  return { ...object, metadata: { name, namespace, labels, annotations, ...rest } };
}
