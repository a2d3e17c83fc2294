import { argument, type Expression, expressionOf, type Kind, pieces, SPREAD_SEPARATOR } from "./expression.ts";
import { literal, scalar } from "./scalar.ts";

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json | undefined };
type JsonMap = { [key: string]: Json | undefined };

/** The indentation of a map is part of what `nindent` needs to know, hence no general YAML library. */
const indentation = (depth: number): string => "  ".repeat(depth);

/** The expression, when the text is nothing but one that stands for a whole value or a whole key. */
function special(value: Json | undefined, ...kinds: Kind[]): Expression<unknown> | undefined {
  if (typeof value !== "string") return undefined;
  const [first, second] = pieces(value);
  if (first === undefined || second !== undefined || !("expression" in first) || !first.direct) return undefined;
  return kinds.includes(first.expression.kind) ? first.expression : undefined;
}

/** What `given` made: a map with one key, which is the condition. */
function conditional(value: Json): { code: string; body: Json } | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const [entry, second] = Object.entries(value);
  const condition = special(entry?.[0], "given");
  if (entry === undefined || condition === undefined) return undefined;
  const [, body] = entry;
  if (second !== undefined || body === undefined) throw new TypeError("given(…) must be a whole value, with something in it");
  return { code: condition.code, body };
}

const around = (at: string, opening: string, inner: string[]): string[] => [
  `${at}{{- ${opening} }}`,
  ...inner,
  `${at}{{- end }}`,
];

/** A map or a list as the user wrote it, in lines of their own; nothing at all when it is empty. */
const whole = (code: string, depth: number): string[] =>
  around(indentation(depth), `with ${code}`, [`${indentation(depth)}{{- toYaml . | nindent ${2 * depth} }}`]);

// What a block scalar cannot hold: control and format characters, the line breaks of YAML 1.1 that are none for anybody else, and a blank at
// the start, which would count as indentation.
const UNFIT_FOR_LINES = String.raw`^\\s|[^\\PC\\t\\n]|[\\p{Zl}\\p{Zp}\\x{fffe}\\x{ffff}]`;

function linesField(at: string, name: string, code: string, depth: number): string[] {
  const block = `|{{ $lines | nindent ${2 * (depth + 1)} }}`;
  return [
    `${at}{{- $lines := ${code} }}`,
    `${name} {{ if regexMatch "${UNFIT_FOR_LINES}" $lines }}{{ $lines | quote }}{{ else }}${block}{{ end }}`,
  ];
}

function field(key: string, value: Json, depth: number): string[] {
  const at = indentation(depth);
  const condition = conditional(value);
  if (condition !== undefined) return around(at, `if ${condition.code}`, field(key, condition.body, depth));
  const name = `${at}${scalar(key)}:`;
  const expression = special(value, "block", "optional", "lines", "items");
  switch (expression?.kind) {
    case "block":
      return blockField(at, name, expression.code, depth);
    case "optional":
      return around(at, `with ${expression.code}`, [`${name} {{ . | quote }}`]);
    case "lines":
      return linesField(at, name, expression.code, depth);
    case "items":
      throw new TypeError(`${key}: items(…) must be an element of a list`);
    default:
  }
  if (typeof value !== "object" || value === null) return [`${name} ${scalar(value)}`];
  const users = Array.isArray(value) ? onlyItems(value) : onlySpread(value);
  if (users !== undefined) return blockField(at, name, users, depth);
  if (Array.isArray(value)) return value.length === 0 ? [`${name} []`] : [name, ...list(value, depth + 1)];
  return Object.keys(value).length === 0 ? [`${name} {}`] : [name, ...map(value, depth + 1)];
}

function blockField(at: string, name: string, code: string, depth: number): string[] {
  return around(at, `with ${code}`, [name, `${at}  {{- toYaml . | nindent ${2 * (depth + 1)} }}`]);
}

const orEmpty = (code: string, empty: "dict" | "list"): string => `(${code} | default ${empty})`;

/** The user's maps in a map of ours as one map, of which the first wins. */
function merged(value: JsonMap): string | undefined {
  const codes = Object.keys(value).flatMap((key) => special(key, "spread")?.code.split(SPREAD_SEPARATOR) ?? []);
  return codes.length < 2 ? codes[0] : `merge dict ${codes.map((code) => orEmpty(code, "dict")).join(" ")}`;
}

const ownKeys = (value: JsonMap): string[] => Object.keys(value).filter((key) => special(key, "spread") === undefined);

/** A map or a list in which there is nothing of ours goes away with its key when the user's are empty. */
const onlySpread = (value: JsonMap): string | undefined => (ownKeys(value).length === 0 ? merged(value) : undefined);

function onlyItems(value: Json[]): string | undefined {
  const codes = value.map((item) => special(item, "items")?.code);
  const [first] = codes;
  if (first === undefined || codes.includes(undefined)) return undefined;
  return codes.length === 1 ? first : `concat ${codes.map((code) => orEmpty(code ?? "", "list")).join(" ")}`;
}

function map(value: JsonMap, depth: number): string[] {
  const ours = ownKeys(value).flatMap((key) => {
    const inner = value[key];
    if (inner === undefined) return [];
    if (special(key, "given") !== undefined) throw new TypeError("given(…) must be a whole value, with something in it");
    return field(key, inner, depth);
  });
  const users = merged(value);
  if (users === undefined) return ours;
  // A key twice in a map is an error for one parser and a silent choice for another: ours wins.
  const names = ownKeys(value).map((own) => argument(expressionOf(own)));
  return [...ours, ...whole(names.length === 0 ? users : `omit ${orEmpty(users, "dict")} ${names.join(" ")}`, depth)];
}

function list(value: Json[], depth: number): string[] {
  const at = indentation(depth);
  return value.flatMap((item) => {
    const condition = conditional(item);
    if (condition !== undefined) return around(at, `if ${condition.code}`, list([condition.body], depth));
    const users = special(item, "items");
    if (users !== undefined) return whole(users.code, depth);
    if (special(item, "block", "optional", "lines") !== undefined)
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
export function toTemplate(value: JsonMap): string {
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
