import { z } from "zod";

const DURATION_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const DURATION = /^(?:\d+(?:ms|s|m|h|d))+$/;

/** `"90s"`, `"1h30m"`, `"30d"` → milliseconds. */
export function parseDurationMs(text: string): number {
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+)(ms|s|m|h|d)/g)) {
    total += Number(amount) * DURATION_MS[unit as keyof typeof DURATION_MS];
  }
  return total;
}

/** Ten years: beyond it times could no longer be written down. */
const LONGEST_MS = 3_650 * DURATION_MS.d;

/** A duration as people write it, given on as milliseconds. */
export const durationMs = z
  .string()
  .regex(DURATION, "must be a duration such as 90s, 10m or 1h30m")
  .transform((text) => parseDurationMs(text))
  .refine((ms) => ms <= LONGEST_MS, "must be at most ten years (3650d)");

const SUFFIX: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};
/** The grammar of apimachinery's `resource.Quantity`, without a sign: no resource of a pod may be negative. */
const QUANTITY = /^(\d+(?:\.\d*)?|\.\d+)(?:([eE][+-]?\d+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?)$/;

/** A Kubernetes quantity (`500m`, `8Gi`, `1e3`) as a plain number of its base unit, or undefined when it is not one. */
export function parseQuantity(text: string): number | undefined {
  const match = QUANTITY.exec(text);
  if (match === null) return undefined;
  const [, digits = "", exponent, suffix = ""] = match;
  return exponent === undefined ? Number(digits) * (SUFFIX[suffix] ?? 1) : Number(digits + exponent);
}

/** A Kubernetes quantity, kept as written; a bare number is accepted as YAML and JSON users write it. */
export const quantity = z
  .union([z.string(), z.number().nonnegative()])
  .transform((value) => String(value))
  .refine((text) => parseQuantity(text) !== undefined, "must be a Kubernetes quantity such as 500m or 8Gi");
