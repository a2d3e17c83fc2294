import { expressionOf, pieces } from "./expression.ts";

// Begins with a letter or a slash, so it is never a number, a date or an indicator; the words that YAML 1.1 reads as booleans and null are out.
const PLAIN = /^[a-zA-Z/](?:[\w./-]|:(?=[\w./-]))*$/u;
const WORD = /^(?:y|n|yes|no|on|off|true|false|null)$/iu;

/** Text that Helm must print as it is: its `{{` are not ours. */
export const literal = (text: string): string => text.replaceAll("{{", '{{ "{{" }}');

// YAML 1.1, which Helm's parser follows here, takes these for line breaks and blanks inside a quoted string.
const INVISIBLE = /[\u007f-\u00a0\u2028\u2029\ufeff]/gu;

function plainOrQuoted(text: string): string {
  if (PLAIN.test(text) && !WORD.test(text)) return text;
  const quoted = JSON.stringify(text).replace(INVISIBLE, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return literal(quoted);
}

/** A key, or a value that fits into the line of its key. */
export function scalar(value: string | number | boolean | null): string {
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
