/** One of the things that are compared. */
export interface Variant<Result> {
  readonly name: string;
  /** `round` counts from 0; -1 is the warm-up, whose result is thrown away. */
  run(round: number): Promise<Result>;
}

/**
 * A B C, A B C, …: what the machine does besides falls on all alike. A round of warm-up goes before: compilers and caches get ready. The order
 * turns around with each round, so that nobody always comes after the same neighbour.
 */
export async function interleaved<Result>(
  variants: readonly Variant<Result>[],
  rounds: number,
  progress: (line: string) => void,
): Promise<Map<string, Result[]>> {
  const results = new Map<string, Result[]>(variants.map(({ name }) => [name, []]));
  for (let round = -1; round < rounds; round += 1) {
    for (const { name, run } of round % 2 === 0 ? variants : variants.toReversed()) {
      const startedMs = performance.now();
      const result = await run(round);
      if (round >= 0) results.get(name)?.push(result);
      const label = round < 0 ? "warm-up" : `round ${round + 1}/${rounds}`;
      progress(`${label} ${name}: ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
    }
  }
  return results;
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2;
}

/** `612 (580–640)`: the median, and the lowest and the highest of the rounds. */
export function spread(values: readonly number[], digits = 0): string {
  const text = (value: number): string => value.toFixed(digits);
  return `${text(median(values))} (${text(Math.min(...values))}–${text(Math.max(...values))})`;
}
