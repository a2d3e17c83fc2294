import { z } from "zod";
import type { Installation } from "./installation.ts";

const entry = z.looseObject({
  time: z.iso.datetime(),
  event: z.string(),
  path: z.string().optional(),
  reason: z.string().optional(),
  problem: z.string().optional(),
});
export type LogEntry = z.infer<typeof entry>;

/** What the pods of a service have logged since a moment; what is no entry of a log is left out. */
export async function logSince(millrace: Installation, service: "dispatcher" | "monitor", sinceMs: number): Promise<LogEntry[]> {
  return (await millrace.logLines(service)).flatMap((line) => {
    const parsed = entry.safeParse(asJson(line));
    return parsed.success && Date.parse(parsed.data.time) >= sinceMs ? [parsed.data] : [];
  });
}

function asJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** A watch that could not go on from where it was began anew with a list of all there is. */
export function isListedAnew({ event, reason }: LogEntry): boolean {
  return event === "watch.listed" && reason !== "first";
}
