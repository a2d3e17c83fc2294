import fc from "fast-check";
import type { Schema } from "../helm/values.ts";
import type { Json } from "../helm/yaml.ts";

/**
 * Arbitraries for the values at some paths, such as `dispatcher.extraEnv` or `workers.[].image`, in place of what the schema alone would allow.
 */
export type Overrides = { [path: string]: fc.Arbitrary<Json> };

const HOSTILE = [
  [
    "",
    " ",
    "\n",
    "\t",
    "a\nb\n",
    " leading",
    "trailing ",
    "a: b",
    "- a",
    "#x",
    "a #b",
    "'",
    '"',
    "it's",
    'say "hi"',
    "\\",
    "\\n",
  ],
  ["{{", "}}", "{{ evil }}", "{{- fail `x` -}}", "%v", "%", "$(A)", "$", "{a: 1}", "[a]", "|", ">", "&a", "*a", "!t", "@", "`"],
  [
    "yes",
    "No",
    "on",
    "true",
    "null",
    "~",
    "y",
    "1",
    "1e3",
    "0x1f",
    "012",
    "0o17",
    "1_000",
    "1:30",
    "-.inf",
    ".nan",
    "2026-01-01",
  ],
  [
    "2026-01-01T00:00:00Z",
    "<<",
    "=",
    "---",
    "...",
    "\u0000",
    "\u001b",
    "\r\n",
    "\u00a0",
    "\u2028",
    "\u2029",
    "\u00fc",
    "\u{1f980}",
  ],
].flat();

/** Any text that a chart takes: half of them made to be misread, the others anything. */
export const hostileText = fc
  .oneof(fc.constantFrom(...HOSTILE), fc.string({ maxLength: 12 }), fc.string({ unit: "binary", maxLength: 6 }))
  .filter((text) => !/[\u007f-\u009f\ufeff\ufffe\uffff]/u.test(text) && !/(?:^|\n)[ \t]*\n$/u.test(text));

// A prototype's key would not survive in JavaScript, where the expectations are computed; Helm writes the key `<<` so that it cannot read it.
const hostileKey = hostileText.filter((key) => !["", "<<", "__proto__"].includes(key));

const dictionary = (keys: fc.Arbitrary<string>, values: fc.Arbitrary<Json>): fc.Arbitrary<{ [key: string]: Json }> =>
  fc.dictionary(keys, values, { maxKeys: 3, noNullPrototype: true });

/** Anything but null in maps, which is how a user of Helm removes a key. */
const { anything } = fc.letrec<{ anything: Json }>((tie) => ({
  anything: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    hostileText,
    fc.maxSafeInteger().map((number) => number + 0),
    fc.constantFrom(0.5, -1.25, 1e21, 1_000_000),
    fc.boolean(),
    fc.array(fc.oneof(tie("anything"), fc.constant(null)), { maxLength: 3 }),
    dictionary(hostileKey, tie("anything")),
  ),
}));

const isSchema = (value: Json | undefined): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The path of what is in a list or a map. No default gives it what it lacks. */
const ELEMENT = "[]";

/**
 * Values that a schema of ours accepts. A section may lack any of its keys: then its defaults count. Knows the keywords that our schemas use,
 * and no others.
 */
export function schemaValues(schema: Schema, overrides: Overrides = {}, path = ""): fc.Arbitrary<Json> {
  const override = overrides[path];
  if (override !== undefined) return override;
  const { anyOf, enum: allowed, const: fixed } = schema;
  if (Array.isArray(allowed)) return fc.constantFrom(...allowed);
  if (fixed !== undefined) return fc.constant(fixed);
  if (Array.isArray(anyOf)) return fc.oneof(...anyOf.filter(isSchema).map((one) => schemaValues(one, overrides, path)));
  switch (schema["type"]) {
    case "boolean":
      return fc.boolean();
    case "integer":
      return integers(schema);
    case "number":
      return fc.oneof(integers(schema), halves(schema));
    case "string":
      return texts(schema);
    case "array":
      return fc.array(isSchema(schema["items"]) ? schemaValues(schema["items"], {}, ELEMENT) : anything, { maxLength: 3 });
    case "object":
      return objects(schema, overrides, path);
    case undefined:
      return anything;
    default:
      throw new TypeError(`${path}: the type ${JSON.stringify(schema["type"])} is not known here`);
  }
}

function integers(schema: Schema): fc.Arbitrary<number> {
  const limit = (keyword: string, otherwise: number): number => {
    const found = schema[keyword];
    return typeof found === "number" ? found : otherwise;
  };
  const above = (limit: number): number => Math.floor(limit) + 1;
  const below = (limit: number): number => Math.ceil(limit) - 1;
  const min = Math.max(
    Math.ceil(limit("minimum", Number.MIN_SAFE_INTEGER)),
    above(limit("exclusiveMinimum", Number.MIN_SAFE_INTEGER - 1)),
  );
  const max = Math.min(
    Math.floor(limit("maximum", Number.MAX_SAFE_INTEGER)),
    below(limit("exclusiveMaximum", Number.MAX_SAFE_INTEGER + 1)),
  );
  const near = [min, max, 0, 1, 1_000_000, 2 ** 30].filter((number) => min <= number && number <= max);
  return fc.oneof(
    fc.constantFrom(...near),
    fc.maxSafeInteger().map((number) => min + (Math.abs(number) % (max - min + 1))),
  );
}

/** Numbers between the whole ones, of a size at which there are such. */
function halves(schema: Schema): fc.Arbitrary<number> {
  const small = fc.integer({ min: -1_000, max: 1_000 }).map((number) => number + 0.5);
  return small.filter((number) => {
    const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
    return (
      (typeof minimum !== "number" || number >= minimum) &&
      (typeof maximum !== "number" || number <= maximum) &&
      (typeof exclusiveMinimum !== "number" || number > exclusiveMinimum) &&
      (typeof exclusiveMaximum !== "number" || number < exclusiveMaximum)
    );
  });
}

function texts(schema: Schema): fc.Arbitrary<string> {
  const { pattern, minLength = 0, maxLength = Number.POSITIVE_INFINITY } = schema;
  const text = typeof pattern === "string" ? fc.stringMatching(new RegExp(pattern, "u"), { size: "small" }) : hostileText;
  return text.filter((found) => found.length >= Number(minLength) && found.length <= Number(maxLength));
}

function objects(schema: Schema, overrides: Overrides, path: string): fc.Arbitrary<{ [key: string]: Json }> {
  const { properties, patternProperties, additionalProperties, required } = schema;
  const parts: fc.Arbitrary<{ [key: string]: Json }>[] = [];
  if (isSchema(properties)) {
    const known = Object.entries(properties).filter(([, inner]) => isSchema(inner));
    const model = Object.fromEntries(
      known.map(([key, inner]) => [key, schemaValues(inner as Schema, overrides, path === "" ? key : `${path}.${key}`)]),
    );
    const needed = path.includes(ELEMENT) && Array.isArray(required) ? required.filter((key) => typeof key === "string") : [];
    parts.push(fc.record(model, { requiredKeys: needed, noNullPrototype: true }));
  }
  if (isSchema(patternProperties)) {
    for (const [pattern, inner] of Object.entries(patternProperties)) {
      if (isSchema(inner))
        parts.push(
          dictionary(
            fc.stringMatching(new RegExp(pattern, "u"), { size: "xsmall" }),
            schemaValues(inner, overrides, `${path}.${ELEMENT}`),
          ),
        );
    }
  }
  if (isSchema(additionalProperties)) parts.push(dictionary(hostileKey, schemaValues(additionalProperties, {}, ELEMENT)));
  else if (parts.length === 0) parts.push(dictionary(hostileKey, anything));
  return fc.tuple(...parts).map((all) => Object.assign({}, ...all) as { [key: string]: Json });
}

/** Helm reads JSON as YAML, which wants these characters escaped, and has no surrogates. */
export const writtenForHelm = (values: Json): string =>
  JSON.stringify(values).replace(
    /[\u007f-\u00a0\u2028\u2029\ue000-\uf8ff\ufeff\ufffe\uffff]/gu,
    (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
