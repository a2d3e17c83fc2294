import type { Json } from "./yaml.ts";

/** How the value of an expression is written into YAML. */
export type Kind = "string" | "int" | "bool" | "block" | "optional" | "lines" | "items" | "spread" | "given" | "action";

/** Between the codes of a spread, which is one token for several maps. */
export const SPREAD_SEPARATOR = "\n";

// Private-use code points: they survive every JSON and YAML step unquoted, and no Kubernetes field may hold them.
const DIRECT = "\uE000";
const TEXT = "\uE001";
const SEPARATOR = "\uE002";
const END = "\uE003";
const TOKEN = new RegExp(`([${DIRECT}${TEXT}])([a-z]+)${SEPARATOR}([^${END}]*)${END}`, "gu");

/**
 * An expression of Go's template language, known to give a `T` when Helm renders the chart.
 *
 * It is opaque on purpose: `replicas + 1` or `replicas > 2` would compute with a placeholder while the chart is being *written*, and is a
 * compile error. Inside a template string an expression always becomes text: `${v.port}` is the string "8080", never the number.
 *
 * Where an object has to become plain JSON, an expression travels as a token, a string that carries the expression itself.
 */
export class Expression<T> {
  /** Without a member that mentions T, `Expression<number>` would be assignable to `Expression<string>`. */
  declare protected readonly gives: T;
  readonly code: string;
  readonly kind: Kind;

  constructor(code: string, kind: Kind) {
    this.code = code;
    this.kind = kind;
  }

  /** The token for a whole field: keeps the type of the value. */
  toToken(): string {
    return `${DIRECT}${this.kind}${SEPARATOR}${this.code}${END}`;
  }

  /** The token for a place in a text. Makes `${expression}` work. */
  toString(): string {
    return `${TEXT}${this.kind}${SEPARATOR}${this.code}${END}`;
  }
}

/**
 * A boolean expression. Typed as a function, although it is none, because TypeScript then refuses `if (v.enabled)` and `v.enabled ? a : b`,
 * which would always take the first branch.
 */
export type Condition = Expression<boolean> & (() => never);

export function condition(code: string): Condition {
  return new Expression<boolean>(code, "bool") as Condition;
}

/** One piece of a string: what was typed literally, or an expression. */
export type Piece = { literal: string } | { expression: Expression<unknown>; direct: boolean };

/** Takes a string with tokens apart. */
export function pieces(value: string): Piece[] {
  const found: Piece[] = [];
  let end = 0;
  for (const match of value.matchAll(TOKEN)) {
    const [token, mark, kind, code] = match;
    if (match.index > end) found.push({ literal: value.slice(end, match.index) });
    found.push({ expression: new Expression(code ?? "", kind as Kind), direct: mark === DIRECT });
    end = match.index + token.length;
  }
  if (end < value.length) found.push({ literal: value.slice(end) });
  return found;
}

/** The kinds that give one value, which may be a part of a text. */
const VALUES: ReadonlySet<Kind> = new Set<Kind>(["string", "int", "bool"]);

/** A path or a string literal: needs no brackets. */
const ATOM = /^(?:[$.\w]+|"(?:[^"\\]|\\.)*")$/u;

/**
 * The expression as an argument of a template function. Helm reads every number of values.yaml as a float64, which prints 1000000 as 1e+06:
 * an int always goes through `int64`.
 */
export function argument(expression: Expression<unknown>): string {
  if (expression.kind === "int") return `(${expression.code} | int64)`;
  return ATOM.test(expression.code) ? expression.code : `(${expression.code})`;
}

/** A string literal of Go's template language. */
export function goString(value: string): string {
  return JSON.stringify(value);
}

/** A literal of any kind, as an argument. */
export function goValue(value: Json): string {
  if (typeof value === "string") return goString(value);
  if (value === null) return "nil";
  if (Array.isArray(value)) return `(${["list", ...value.map(goValue)].join(" ")})`;
  if (typeof value !== "object") return String(value);
  const entries = Object.entries(value).flatMap(([key, inner]) => [goString(key), goValue(inner ?? null)]);
  return `(${["dict", ...entries].join(" ")})`;
}

/** One expression for a string with tokens in it. */
export function expressionOf(value: string | Expression<string>): Expression<string> {
  if (value instanceof Expression) return value;
  const found = pieces(value);
  const action = found.find((piece) => "expression" in piece && !VALUES.has(piece.expression.kind));
  if (action !== undefined && "expression" in action) {
    throw new TypeError(`an expression of the kind "${action.expression.kind}" has no value that could be part of a text`);
  }
  const [first] = found;
  if (found.length === 1 && first !== undefined && "expression" in first) {
    return new Expression<string>(first.expression.kind === "int" ? argument(first.expression) : first.expression.code, "string");
  }
  if (!found.some((piece) => "expression" in piece)) return new Expression<string>(goString(value), "string");
  const format = found.map((piece) => ("literal" in piece ? piece.literal.replaceAll("%", "%%") : "%v")).join("");
  const values = found.flatMap((piece) => ("literal" in piece ? [] : [argument(piece.expression)]));
  return new Expression<string>(`printf ${goString(format)} ${values.join(" ")}`, "string");
}

/** An expression written by hand. */
export const raw = (code: string): Expression<string> => new Expression<string>(code, "string");

/** The result of a named template. Without arguments it gets the root. */
export function include(template: string, values?: Record<string, string | Expression<string>>): Expression<string> {
  if (values === undefined) return raw(`include ${goString(template)} $`);
  const pairs = Object.entries(values).map(([key, value]) => `${goString(key)} ${argument(expressionOf(value))}`);
  return raw(`include ${goString(template)} (dict ${pairs.join(" ")})`);
}

/** `value`, or `otherwise` when it is empty. Not for booleans and numbers: false and 0 are empty. */
export function orElse(value: Expression<string>, otherwise: string | Expression<string>): Expression<string> {
  return raw(`${argument(value)} | default ${argument(expressionOf(otherwise))}`);
}

/** `value` when the condition holds, else `otherwise`. Helm computes both. */
export function choose(
  wanted: Condition,
  value: string | Expression<string>,
  otherwise: string | Expression<string>,
): Expression<string> {
  return raw(`ternary ${argument(expressionOf(value))} ${argument(expressionOf(otherwise))} ${argument(wanted)}`);
}

/** Whether a text is not empty. */
export const filled = (value: Expression<string>): Condition => condition(`ne ${argument(value)} ""`);

export const not = (one: Condition): Condition => condition(`not ${argument(one)}`);
export const allOf = (...all: Condition[]): Condition => condition(`and ${all.map(argument).join(" ")}`);
export const anyOf = (...all: Condition[]): Condition => condition(`or ${all.map(argument).join(" ")}`);

/** A part of a free text (NOTES.txt, the body of a named template) that is there only when the condition holds. */
export function textWhen(wanted: Condition, text: string, otherwise = ""): string {
  const action = (code: string): string => `${new Expression(code, "action")}`;
  const rest = otherwise === "" ? "" : `${action("else")}${otherwise}`;
  return `${action(`if ${wanted.code}`)}${text}${rest}${action("end")}`;
}

/** A field that disappears when its value is empty. */
export const optional = (value: Expression<string>): Expression<string> => new Expression(value.code, "optional");

/** A text file: written as a YAML block scalar, with one line end at its end, or quoted when it holds what a block scalar cannot. */
export const lines = (value: Expression<string>): Expression<string> => new Expression(value.code, "lines");
