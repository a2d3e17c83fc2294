import type { Check } from "./chart-files.ts";
import { Expression } from "./expression.ts";
import { type EntriesReference, entryReferences, type References, type Tree } from "./values.ts";

/** One of the user's entries, while a template goes through all of them. */
export type Entry<T extends Tree> = { name: Expression<string>; values: References<T> };

export function variable(name: string): string {
  if (!/^[a-z][a-zA-Z0-9]*$/u.test(name)) throw new TypeError(`"${name}" cannot be the name of a template variable`);
  return `$${name}`;
}

/** The action that goes through all entries, by their names in order, and what stands for one of them between it and its `end`. */
export function overEntries<T extends Tree>(name: string, all: EntriesReference<T>): { opening: string; entry: Entry<T> } {
  const value = variable(name);
  return {
    opening: `range ${value}Name, ${value} := ${all.code}`,
    entry: { name: new Expression<string>(`${value}Name`, "string"), values: entryReferences(all.fields, value) },
  };
}

/** A part of a free text, once for each entry. */
export function textEach<T extends Tree>(name: string, all: EntriesReference<T>, text: (entry: Entry<T>) => string): string {
  const { opening, entry } = overEntries(name, all);
  const action = (code: string): string => `${new Expression(code, "action")}`;
  return `${action(opening)}${text(entry)}${action("end")}`;
}

/** What must hold of each entry. */
export function checkEach<T extends Tree>(name: string, all: EntriesReference<T>, check: (entry: Entry<T>) => Check): Check {
  const { opening, entry } = overEntries(name, all);
  return { ...check(entry), within: opening };
}
