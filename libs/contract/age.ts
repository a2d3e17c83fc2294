const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
] as const;

/** A span as kubectl shows an age: the largest unit, and the next one while the largest is small (`45s`, `3m20s`, `5h`, `12d`). */
export function ageText(spanMs: number): string {
  const span = Math.max(0, spanMs);
  for (const [index, [unit, unitMs]] of UNITS.entries()) {
    if (span < unitMs) continue;
    const whole = Math.floor(span / unitMs);
    const [smaller, smallerMs] = UNITS[index + 1] ?? ["", 0];
    const rest = smallerMs === 0 || whole >= 10 ? 0 : Math.floor((span % unitMs) / smallerMs);
    return rest === 0 ? `${whole}${unit}` : `${whole}${unit}${rest}${smaller}`;
  }
  return "0s";
}
