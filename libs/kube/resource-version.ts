const DECIMAL = /^\d+$/;

/** Versions are numbers (KEP-5504); of what is none nothing is said. */
export function isOlderVersion(one: string, other: string): boolean {
  return DECIMAL.test(one) && DECIMAL.test(other) && BigInt(one) < BigInt(other);
}

/** A watch never goes back, whatever a bookmark says. What is no number is taken as it comes. */
export function laterVersion(known: string, said: string | undefined): string {
  return said === undefined || isOlderVersion(said, known) ? known : said;
}
