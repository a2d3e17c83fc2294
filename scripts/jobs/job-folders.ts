import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { QUEUE_PATTERN } from "../../libs/contract/names.ts";

export const checkout = join(import.meta.dirname, "../..");

/** A folder of `jobs` with a `main.ts` is a worker; the others are what workers share. */
export function jobNames(root = checkout): string[] {
  const folder = join(root, "jobs");
  const entries = existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : [];
  return entries
    .filter((entry) => entry.isDirectory() && existsSync(join(folder, entry.name, "main.ts")))
    .map(({ name }) => name)
    .filter((name) => QUEUE_PATTERN.test(name))
    .sort();
}
