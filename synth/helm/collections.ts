import { type Condition, Expression, SPREAD_SEPARATOR } from "./expression.ts";

/**
 * A value that exists only when the condition holds: a field together with its key, an element of a list together with its dash. A list or a
 * map in which nothing is left is `null` for Kubernetes; put the condition around the whole when that may happen.
 */
export function given<T>(wanted: Condition, value: T): T {
  return { [new Expression(wanted.code, "given").toToken()]: value } as T;
}

/** The elements of the user's list, in their place among the elements of ours. */
export const items = <Element>(list: Expression<Element[]>): Expression<Element> => new Expression<Element>(list.code, "items");

/**
 * The entries of the user's maps, among the entries of ours: `{ app: "x", ...spread(v.labels) }`. What we have ourselves wins, then the first
 * map that has a key with something in it.
 */
export function spread(...maps: Expression<{ [key: string]: string }>[]): { [key: string]: string } {
  const codes = maps.map(({ code }) => code).join(SPREAD_SEPARATOR);
  return { [new Expression(codes, "spread").toToken()]: "" };
}
