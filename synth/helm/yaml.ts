import { type Expression, expressionOf, pieces } from "./expression.ts";

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json | undefined };

// Begins with a letter or a slash, so it is never a number, a date or an indicator; the words that YAML 1.1 reads as booleans and null are out.
const PLAIN = /^[a-zA-Z/](?:[\w./-]|:(?=[\w./-]))*$/u;
const WORD = /^(?:y|n|yes|no|on|off|true|false|null)$/iu;

/** The indentation of a map is part of what `nindent` needs to know, hence no general YAML library. */
const indentation = (depth: number): string => "  ".repeat(depth);

/** Text that Helm must print as it is: its `{{` are not ours. */
export const literal = (text: string): string => text.replaceAll("{{", '{{ "{{" }}');

// YAML 1.1, which Helm's parser follows here, takes these for line breaks and blanks inside a quoted string.
const INVISIBLE = /[\u007f-\u00a0\u2028\u2029\ufeff]/gu;

function plainOrQuoted(text: string): string {
  if (PLAIN.test(text) && !WORD.test(text)) return text;
  const quoted = JSON.stringify(text).replace(INVISIBLE, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return literal(quoted);
}

function scalar(value: string | number | boolean | null): string {
  if (typeof value !== "string") return JSON.stringify(value);
  const found = pieces(value);
  const [first] = found;
  if (!found.some((piece) => "expression" in piece)) return plainOrQuoted(value);
  if (found.length === 1 && first !== undefined && "expression" in first && first.direct) {
    const { expression } = first;
    if (expression.kind === "int") return `{{ ${expression.code} | int64 }}`;
    if (expression.kind === "bool") return `{{ ${expression.code} }}`;
  }
  // One expression for the whole string, quoted by Helm: valid YAML whatever the values hold.
  return `{{ ${expressionOf(value).code} | quote }}`;
}

/** The expression, when the value is one that changes how its key is written. */
function special(value: Json): Expression<unknown> | undefined {
  if (typeof value !== "string") return undefined;
  const [first, second] = pieces(value);
  if (first === undefined || second !== undefined || !("expression" in first) || !first.direct) return undefined;
  return ["block", "optional", "lines"].includes(first.expression.kind) ? first.expression : undefined;
}

function field(key: string, value: Json, depth: number): string[] {
  const at = indentation(depth);
  const name = `${at}${scalar(key)}:`;
  const expression = special(value);
  switch (expression?.kind) {
    case "block":
      return [
        `${at}{{- with ${expression.code} }}`,
        name,
        `${at}  {{- toYaml . | nindent ${2 * (depth + 1)} }}`,
        `${at}{{- end }}`,
      ];
    case "optional":
      return [`${at}{{- with ${expression.code} }}`, `${name} {{ . | quote }}`, `${at}{{- end }}`];
    case "lines":
      return [`${name} |`, `${at}  {{- ${expression.code} | nindent ${2 * (depth + 1)} }}`];
    default:
  }
  if (typeof value !== "object" || value === null) return [`${name} ${scalar(value)}`];
  if (Array.isArray(value)) return value.length === 0 ? [`${name} []`] : [name, ...list(value, depth + 1)];
  return Object.keys(value).length === 0 ? [`${name} {}`] : [name, ...map(value, depth + 1)];
}

function map(value: { [key: string]: Json | undefined }, depth: number): string[] {
  return Object.entries(value).flatMap(([key, inner]) => (inner === undefined ? [] : field(key, inner, depth)));
}

function list(value: Json[], depth: number): string[] {
  const at = indentation(depth);
  return value.flatMap((item) => {
    if (special(item) !== undefined)
      throw new TypeError("a block, an optional or a multi-line expression must be the value of a key, not of a list");
    if (typeof item !== "object" || item === null) return [`${at}- ${scalar(item)}`];
    const inner = Array.isArray(item) ? list(item, depth + 1) : map(item, depth + 1);
    if (inner.length === 0) return [`${at}- ${Array.isArray(item) ? "[]" : "{}"}`];
    // A template action as the first line of an item would trim the dash away together with its line.
    if (inner[0]?.trimStart().startsWith("{{-")) return [`${at}-`, ...inner];
    return [`${at}- ${inner[0]?.slice(at.length + 2)}`, ...inner.slice(1)];
  });
}

/** The object as a Helm template. */
export function toTemplate(value: { [key: string]: Json | undefined }): string {
  return map(value, 0)
    .map((line) => `${line}\n`)
    .join("");
}

/** A free text as a Helm template: NOTES.txt, or the body of a named template. */
export function textTemplate(text: string): string {
  return pieces(text)
    .map((piece, index, all) => {
      if ("expression" in piece) {
        const { code, kind } = piece.expression;
        return kind === "int" ? `{{ ${code} | int64 }}` : `{{ ${code} }}`;
      }
      // A brace right before an expression would begin the action one character too early.
      return index < all.length - 1 ? literal(piece.literal).replace(/\{$/u, '{{ "{" }}') : literal(piece.literal);
    })
    .join("");
}
