import { pieces, SPREAD_SEPARATOR } from "../helm/expression.ts";
import type { Json } from "../helm/yaml.ts";

type JsonMap = { [key: string]: Json | undefined };

/** `$.Values.a.b` in the given values, or `not` of it. */
function lookup(code: string, values: Json): Json {
  if (code.startsWith("not ")) return !lookup(code.slice("not ".length), values);
  const [root, name, ...path] = code.split(".");
  if (root !== "$" || name !== "Values") throw new TypeError(`only paths can be interpreted, not ${code}`);
  return path.reduce<Json>((found, key) => (found as JsonMap)[key] ?? null, values);
}

const isMap = (value: Json | undefined): value is JsonMap => typeof value === "object" && value !== null && !Array.isArray(value);
const isEmpty = (value: Json | undefined): boolean => (isMap(value) ? Object.keys(value) : (value as Json[])).length === 0;

const GONE = Symbol("gone");
type Result = Json | typeof GONE;

/** What a text with tokens means. The numbers and booleans in it become text, as a reader would write them. */
function interpretText(text: string, values: Json): Result {
  const found = pieces(text);
  const [first] = found;
  if (found.length === 1 && first !== undefined && "expression" in first && first.direct) {
    const { code, kind } = first.expression;
    const value = lookup(code, values);
    if (kind === "block") return isEmpty(value) ? GONE : value;
    if (kind === "optional") return value === "" ? GONE : value;
    return kind === "lines" ? `${String(value).replace(/\n+$/u, "")}\n` : value;
  }
  return found.map((piece) => ("literal" in piece ? piece.literal : String(lookup(piece.expression.code, values)))).join("");
}

/** The expression of a key or an element that stands for something else than itself. */
function codeOf(text: Json | undefined, kind: "given" | "spread" | "items"): string | undefined {
  if (typeof text !== "string") return undefined;
  const [piece] = pieces(text);
  return piece !== undefined && "expression" in piece && piece.expression.kind === kind ? piece.expression.code : undefined;
}

function interpretAny(value: Json, values: Json): Result {
  if (typeof value === "string") return interpretText(value, values);
  if (Array.isArray(value)) return interpretList(value, values);
  return isMap(value) ? interpretMap(value, values) : value;
}

function interpretMap(map: JsonMap, values: Json): Result {
  const [[key, body] = []] = Object.entries(map);
  const condition = codeOf(key, "given");
  if (condition !== undefined && body !== undefined) return lookup(condition, values) ? interpretAny(body, values) : GONE;
  const result: [string, Json][] = [];
  const codes: string[] = [];
  for (const [name, inner] of Object.entries(map)) {
    const spread = codeOf(name, "spread");
    if (spread !== undefined) codes.push(...spread.split(SPREAD_SEPARATOR));
    else if (inner !== undefined) {
      const found = interpretAny(inner, values);
      if (found !== GONE) result.push([String(interpretText(name, values)), found]);
    }
  }
  // The first map wins, so it comes last; what is empty gives way.
  const users: [string, Json][] = [];
  for (const code of codes.reverse()) {
    const entries = Object.entries(lookup(code, values) as { [key: string]: Json });
    users.push(...entries.filter(([user, text]) => text !== "" || !users.some(([other]) => other === user)));
  }
  const all = Object.fromEntries([...users, ...result]);
  if (Object.keys(map).length === 0 || Object.keys(all).length > 0) return all;
  return Object.keys(map).every((name) => codeOf(name, "spread") !== undefined) ? GONE : null;
}

function interpretList(list: Json[], values: Json): Result {
  const all = list.flatMap((item): Json[] => {
    const users = codeOf(item, "items");
    if (users !== undefined) return lookup(users, values) as Json[];
    const found = interpretAny(item, values);
    return found === GONE ? [] : [found];
  });
  if (list.length === 0 || all.length > 0) return all;
  return list.every((item) => codeOf(item, "items") !== undefined) ? GONE : null;
}

/**
 * What Helm must make of an object of the construct tree: the same rules, written a second time without any template language. Only paths to
 * values are understood, and `not` of them.
 */
export function interpretation(object: JsonMap, values: Json): Json {
  const found = interpretMap(object, values);
  return found === GONE ? null : found;
}
