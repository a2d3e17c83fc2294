import { type Condition, condition, Expression, goString, goValue } from "./expression.ts";
import type { Json } from "./yaml.ts";

export type Schema = { [keyword: string]: Json };

/** A value that a user may set: its default, what it is for, and what it may be. */
export class Leaf<T> {
  declare protected readonly gives: T;
  /** Without one the value is given by the user, or by nobody. Only in the fields of entries. */
  readonly initial: Json | undefined;
  readonly doc: string;
  readonly schema: Schema;
  readonly kind: "string" | "int" | "bool" | "block";

  constructor(kind: Leaf<T>["kind"], initial: Json | undefined, doc: string, schema: Schema) {
    this.kind = kind;
    this.initial = initial;
    this.doc = doc;
    this.schema = schema;
  }
}

/** A group of values. A closed one refuses keys that it does not know: a misspelt value is an error, not silence. */
export class Section<T extends Tree> {
  readonly doc: string;
  readonly values: T;
  readonly closed: boolean;

  constructor(doc: string, values: T, closed: boolean) {
    this.doc = doc;
    this.values = values;
    this.closed = closed;
  }
}

export type Tree = { [key: string]: Leaf<unknown> | Section<Tree> };

/**
 * Groups of values under names of the user's choosing, all with the same fields. Helm lays no defaults under what stands below such a name, so
 * the references to the fields bring them.
 */
export class Entries<T extends Tree> extends Leaf<{ [name: string]: unknown }> {
  /** What a name must match, as a regular expression. */
  readonly names: string;
  readonly fields: T;
  /** The fields that every entry must have. */
  readonly required: readonly string[];

  constructor(doc: string, names: string, fields: T, required: readonly string[]) {
    super("block", {}, doc, { type: "object" });
    this.names = names;
    this.fields = { ...fields };
    this.required = required;
    for (const key of required) {
      const field: Tree[string] | undefined = fields[key];
      if (!(field instanceof Leaf)) throw new TypeError(`${key}: only a single value can be required`);
      Object.assign(this.fields, { [key]: new Leaf(field.kind, undefined, `${field.doc} Required.`, field.schema) });
    }
  }
}

/** All entries: a block, that knows the fields of each. */
export class EntriesReference<T extends Tree> extends Expression<{ [name: string]: unknown }> {
  readonly fields: T;

  constructor(code: string, fields: T) {
    super(code, "block");
    this.fields = fields;
  }
}

/** What `references` makes of a tree: the same shape, with an expression for each value. */
export type References<T extends Tree> = {
  [Key in keyof T]: T[Key] extends Section<infer Inner>
    ? References<Inner>
    : T[Key] extends Entries<infer Inner>
      ? EntriesReference<Inner>
      : T[Key] extends Leaf<infer Value>
        ? [Value] extends [boolean]
          ? Condition
          : Expression<Value>
        : never;
};

/** Helm keeps numbers as float64: beyond these a number would silently become its neighbour. */
export const SAFE_INTEGERS = { minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER };

export const int = (initial: number, doc: string, range: { minimum?: number; maximum?: number } = {}): Leaf<number> =>
  new Leaf("int", initial, doc, { type: "integer", ...SAFE_INTEGERS, ...range });

export const text = (
  initial: string,
  doc: string,
  rules: { pattern?: string; maxLength?: number; minLength?: number } = {},
): Leaf<string> => new Leaf("string", initial, doc, { type: "string", ...rules });

export const oneOf = (initial: string, doc: string, allowed: readonly [string, ...string[]]): Leaf<string> =>
  new Leaf("string", initial, doc, { type: "string", enum: [...allowed] });

export const bool = (initial: boolean, doc: string): Leaf<boolean> => new Leaf("bool", initial, doc, { type: "boolean" });

/** A map or a list that goes into the chart as the user wrote it. */
export function block<T>(initial: { [key: string]: Json } | Json[], doc: string, schema: Schema = {}): Leaf<T> {
  return new Leaf("block", initial, doc, { type: Array.isArray(initial) ? "array" : "object", ...schema });
}

export const entries = <T extends Tree>(doc: string, names: string, fields: T, required: (keyof T & string)[] = []): Entries<T> =>
  new Entries(doc, names, fields, required);

export const section = <T extends Tree>(doc: string, values: T): Section<T> => new Section(doc, values, true);

/** For `global`, which Helm shares among all charts of a release: other charts' keys are none of our business. */
export const openSection = <T extends Tree>(doc: string, values: T): Section<T> => new Section(doc, values, false);

// What a template can say as `.Values.key`; anything else would need `index`.
const KEY = /^[a-zA-Z][a-zA-Z0-9]*$/u;

/** Typed references to the values: `v.dispatcher.replicas`. From the root `$`, so they hold inside `with` and `range` too. */
export function references<T extends Tree>(tree: T, path = "$.Values"): References<T> {
  const entries = Object.entries(tree).map(([key, node]) => {
    if (!KEY.test(key)) throw new TypeError(`${path}.${key}: a key must match ${KEY.source}`);
    const code = `${path}.${key}`;
    if (node instanceof Section) return [key, references(node.values, code)];
    return [key, node instanceof Entries ? new EntriesReference(code, node.fields) : reference(node, code)];
  });
  return Object.fromEntries(entries) as References<T>;
}

const reference = ({ kind }: Leaf<unknown>, code: string): Expression<unknown> =>
  kind === "bool" ? condition(code) : new Expression(code, kind);

/** Typed references to the fields of one entry, which is a variable of the template: what the user gave, else the default. */
export function entryReferences<T extends Tree>(fields: T, variable: string, path: readonly string[] = []): References<T> {
  const all = Object.entries(fields).map(([key, node]) => {
    const here = [...path, key];
    if (node instanceof Section) return [key, entryReferences(node.values, variable, here)];
    if (node instanceof Entries) throw new TypeError(`${here.join(".")}: entries cannot have entries`);
    const steps = here.map((step) => goString(step)).join(" ");
    return [key, reference(node, `dig ${steps} ${goValue(node.initial ?? null)} ${variable}`)];
  });
  return Object.fromEntries(all) as References<T>;
}
