import { z } from "zod";

/** The environment or a file lacks something; the message names every problem at once and no value. */
export class SettingsError extends Error {
  readonly code = "CONFIG_INVALID";
}

/**
 * Reads a job's environment; empty is as unset.
 * @throws SettingsError
 */
export function readSettings<Schema extends z.ZodType>(schema: Schema, env: NodeJS.ProcessEnv): z.output<Schema> {
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ""));
  const parsed = schema.safeParse(present);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) =>
    path.length === 0 ? message : `${path.join(".")}: ${message}`,
  );
  throw new SettingsError(`the environment cannot be used; set or correct:\n  ${problems.join("\n  ")}`);
}

/** For a job's start: without its settings the process ends, and one line says what to set. */
export function settingsOrExit<Schema extends z.ZodType>(schema: Schema, env: NodeJS.ProcessEnv): z.output<Schema> {
  try {
    return readSettings(schema, env);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    process.stderr.write(`${JSON.stringify({ level: "error", event: "settings.invalid", problem: error.message })}\n`);
    return process.exit(1);
  }
}

/** A byte count or another whole number, within what the worker's memory can bear. */
export const wholeNumber = (most: number) => z.coerce.number().int().min(1).max(most);

const MOST_BYTES = 1_073_741_824;
const DEFAULT_BYTES = 20_971_520;

/** What one image may be; a worker holds it in memory, up to twice while it arrives. */
export const MAX_IMAGE_BYTES = wholeNumber(MOST_BYTES).default(DEFAULT_BYTES);
