/** Beyond so many different ones they are not what is repeated, and all are forgotten. */
const KEPT = 4_096;

/**
 * Values that many objects repeat (namespaces, nodes, times to the second, limits), kept once: what is parsed from JSON is a copy each time, and in
 * ten thousand views of Jobs and pods the copies would be a third of the memory. Sharing changes nothing but that: all of them are immutable.
 */
export class SharedValues {
  readonly #texts = new Map<string, string>();
  readonly #objects = new Map<string, Readonly<Record<string, string>>>();

  text(value: string): string {
    return shared(this.#texts, value, value);
  }

  /** Of few keys and few different values. */
  record(value: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    return shared(this.#objects, JSON.stringify(value), value);
  }
}

function shared<Value>(kept: Map<string, Value>, key: string, value: Value): Value {
  const known = kept.get(key);
  if (known !== undefined) return known;
  if (kept.size >= KEPT) kept.clear();
  kept.set(key, value);
  return value;
}
