export type JsonOutcome =
  | { readonly kind: "ok"; readonly value: unknown }
  | { readonly kind: "invalid"; readonly problem: string };

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** In text that `JSON.parse` accepted these are all the tokens that shape the tree; numbers and literals between them do not matter. */
const SHAPE_TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]/gs;

/**
 * V8 (13.6, of Node 24) takes a key that is written with an escape for one that ended in a backslash at the same place of another object, when both are
 * as long: after `{"id":1,"caf\\":1}` it reads `{"id":1,"caf\u00e9":1}` as that. So what has such a key shares no shape with other messages: all its keys
 * are marked while it is parsed.
 */
const BACKSLASH_ENDS_A_KEY = /(?:\\\\|\\u005c)"\s*:/iu;
const STRINGS = /"((?:[^"\\]|\\.)*)"(\s*:)?/gs;
const MARK = "\ue000";

/**
 * Parses bytes from outside, refusing what two parsers could read differently: invalid UTF-8, duplicate keys (RFC 8259 §4 leaves
 * them undefined, so a policy check and the consumer could see different values), `__proto__`, and nesting deeper than `maxDepth`.
 */
export function parseStrictJson(bytes: Uint8Array, maxDepth = 32, what = "the body"): JsonOutcome {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    return { kind: "invalid", problem: `${what} is not valid UTF-8` };
  }
  const isMarked = BACKSLASH_ENDS_A_KEY.test(text);
  let value: unknown;
  try {
    value = JSON.parse(isMarked ? withMarkedKeys(text) : text);
  } catch (error) {
    if (isMarked) return { kind: "invalid", problem: `${what} is not JSON` };
    return { kind: "invalid", problem: `${what} is not JSON: ${syntaxProblem(error)}` };
  }
  const problem = shapeProblem(text, maxDepth, what);
  if (problem !== undefined) return { kind: "invalid", problem };
  return { kind: "ok", value: isMarked ? withoutMarks(value) : value };
}

/** In JSON a string before a colon is a key, wherever it stands. */
function withMarkedKeys(text: string): string {
  return text.replace(STRINGS, (string, inner: string, colon: string | undefined) =>
    colon === undefined ? string : `"${MARK}${inner}"${colon}`,
  );
}

/** Of what is no deeper than allowed. */
function withoutMarks(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutMarks);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key.slice(MARK.length), withoutMarks(inner)]));
}

/** V8 quotes a piece of the text in its message; the payload must not leak into reasons and logs, so only the position stays. */
function syntaxProblem(error: unknown): string {
  const position = /position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
  return position === undefined ? "unexpected end or token" : `unexpected token at position ${position}`;
}

function shapeProblem(text: string, maxDepth: number, what: string): string | undefined {
  /** The keys seen so far, for each open object; undefined for an open array. */
  const open: (Set<string> | undefined)[] = [];
  let lastString: string | undefined;
  for (const [token] of text.matchAll(SHAPE_TOKENS)) {
    switch (token) {
      case "{":
      case "[":
        open.push(token === "{" ? new Set() : undefined);
        if (open.length > maxDepth) return `${what} is nested deeper than ${maxDepth} levels`;
        break;
      case "}":
      case "]":
        open.pop();
        break;
      case ":": {
        const key = JSON.parse(lastString ?? '""') as string;
        const keys = open.at(-1);
        if (key === "__proto__") return "the key __proto__ is not allowed";
        if (keys?.has(key)) return `the key ${JSON.stringify(key.slice(0, 64))} appears twice in one object`;
        keys?.add(key);
        break;
      }
      case ",":
        break;
      default:
        lastString = token;
    }
  }
  return undefined;
}
