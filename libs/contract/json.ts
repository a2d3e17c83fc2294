export type JsonOutcome =
  | { readonly kind: "ok"; readonly value: unknown }
  | { readonly kind: "invalid"; readonly problem: string };

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** In text that `JSON.parse` accepted these are all the tokens that shape the tree; numbers and literals between them do not matter. */
const SHAPE_TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]/gs;

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
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { kind: "invalid", problem: `${what} is not JSON: ${syntaxProblem(error)}` };
  }
  const problem = shapeProblem(text, maxDepth, what);
  return problem === undefined ? { kind: "ok", value } : { kind: "invalid", problem };
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
